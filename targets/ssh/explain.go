package ssh

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// errSilent is what a connection comes to that ends before it said anything.
var errSilent = errors.New("the connection ended")

// ErrHostKey is wrapped when a machine did not prove that it is the one it is
// taken for. Nothing was sent to it.
var ErrHostKey = errors.New("host key verification failed")

var (
	fingerprint = regexp.MustCompile(`(?:Server host key: (\S+) |fingerprint for the (\S+) key sent by the remote host is\s+)(SHA256:[A-Za-z0-9+/=]+)`)
	unknown     = regexp.MustCompile(`No (\S+) host key is known for (\S+) and you have requested strict checking`)
	refusedBy   = regexp.MustCompile(`Permission denied \(([^)]*)\)`)
	offending   = regexp.MustCompile(`Offending \S+ key in (\S+)`)
)

// explain says in our words why ssh could not reach a machine, with the way out.
// said is what it wrote to its stderr.
func explain(host, said string, err error) error {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Host key verification failed"):
		return hostKey(host, said)
	case refusedBy.MatchString(said) && !has("Permission denied, please"):
		return diag.Hint(fmt.Errorf("ssh %s: the machine lets nobody in by what was offered (%s)", host, refusedBy.FindStringSubmatch(said)[1]),
			"dapple asks for no password and no passphrase: load the key with ssh-add, or name it (IdentityFile, User) in ~/.ssh/config; to see it: ssh -v -o BatchMode=yes "+quote(host)+" true")
	case has("Too many authentication failures"):
		return diag.Hint(fmt.Errorf("ssh %s: too many keys were offered", host), "name the one in ~/.ssh/config: IdentityFile, and IdentitiesOnly yes")
	case has("Could not resolve hostname"):
		return diag.Hint(fmt.Errorf("ssh %s: there is no machine of that name: %s", host, lastLine(said)), "nodes.ssh[].host is a name, an address, or a Host of ~/.ssh/config; to see what ssh makes of it: ssh -G "+quote(host))
	case has("Connection refused", "Connection timed out", "Operation timed out", "No route to host", "Network is unreachable"):
		return diag.Hint(fmt.Errorf("ssh %s: it cannot be reached: %s", host, lastLine(said)), "does sshd run there, on that port? to see what ssh makes of the name: ssh -G "+quote(host))
	case has("Bad configuration option", "terminating,"):
		return fmt.Errorf("ssh %s: its configuration: %s", host, lastLine(said))
	}
	if said != "" {
		return fmt.Errorf("ssh %s: %w: it wrote: %s", host, err, said)
	}
	return fmt.Errorf("ssh %s: %w", host, err)
}

// hostKey tells an unknown machine from one that changed, which may be another.
func hostKey(host, said string) error {
	var key string
	for _, m := range fingerprint.FindAllStringSubmatch(said, -1) {
		key = fmt.Sprintf(" (%s %s)", m[1]+m[2], m[3]) // behind jump hosts, the last is the one
	}
	const compare = "compare the fingerprint with what its owner says: on it, for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $f; done"
	if m := unknown.FindStringSubmatch(said); m != nil {
		return diag.Hint(fmt.Errorf("ssh %s: the machine's host key%s is not known as that of %s: %w; nothing was done there", host, key, m[2], ErrHostKey),
			compare+"; then take it into ~/.ssh/known_hosts: ssh-keyscan "+scanArgs(m[2])+", or by hand: ssh "+quote(host))
	}
	where := "~/.ssh/known_hosts"
	if m := offending.FindStringSubmatch(said); m != nil {
		where = m[1]
	}
	return diag.Hint(fmt.Errorf("ssh %s: the machine's host key%s is not the one that is known (%s): this may be another machine: %w; nothing was done there", host, key, where, ErrHostKey),
		compare+"; if it was set up anew: ssh-keygen -R with the name that stands in "+where+", and take the new key")
}

// scanArgs are the arguments of ssh-keyscan for a name as known_hosts spells it.
func scanArgs(name string) string {
	name = strings.TrimSuffix(name, ".")
	if h, port, ok := strings.Cut(strings.TrimPrefix(name, "["), "]:"); ok {
		return "-p " + port + " " + h
	}
	return name
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// privileges says why a machine is of no use if nobody can be root there.
func (f facts) privileges() error {
	why, no := strings.CutPrefix(f.root, "no ")
	if !no && f.root != "no" {
		return nil
	}
	return diag.Hint(fmt.Errorf("the user is not root there, and may not become root by sudo without being asked (%s)", strings.TrimSpace(why)),
		"log in as root (User root in ~/.ssh/config), or allow it there: NAME ALL=(root) NOPASSWD: ALL in /etc/sudoers.d")
}

// startable says why the program that was copied cannot be run.
func startable(path, said string, err error) error {
	if strings.Contains(said, "ermission denied") || strings.Contains(said, "not permitted") {
		return diag.Hint(fmt.Errorf("%s cannot be run there (a file system mounted noexec?): %s", path, lastLine(said)), "name another directory: dir: /opt/dapple at the node in the system file")
	}
	return fmt.Errorf("%s cannot be run there: %w: %s", path, err, said)
}
