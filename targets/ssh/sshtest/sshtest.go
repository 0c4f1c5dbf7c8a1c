// Package sshtest starts real SSH servers for tests: sshd of OpenSSH on a loopback
// port, with keys and a configuration of its own in a directory that is gone with
// the test. Nothing of the machine's own sshd is read or changed.
//
// The "other machine" is this one: what differs is what the server sets in the
// environment of its sessions, so that dapple keeps its journal and its program in
// places of its own there. Processes and the kernel are shared, which is what lets
// a test see with its own eyes what an agent did over there.
package sshtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// A Server is one sshd, and how a client reaches it.
type Server struct {
	Port int
	Dir  string // of the server's files
	// Home is where dapple keeps its journal there, and Cache where its program is.
	Home, Cache string

	dir    string // of the client's files
	hostKV string // a line of known_hosts
	cmd    *exec.Cmd
	log    *bytes.Buffer
}

// Options say what is unusual about a server.
type Options struct {
	Env    map[string]string // of its sessions
	Config string            // lines of sshd_config
	// Apart gives the server a pid namespace, as the first process of which it sees
	// no others: a machine to which another init belongs.
	Apart bool
}

// Start starts a server, until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	testenv.NeedRoot(t) // another user's sshd can log in nobody but himself
	path := testenv.NeedSSHD(t)
	dir, err := os.MkdirTemp("/tmp", "dapple-sshd-") // the way there must be open to all
	must(t, err)
	s := &Server{Dir: dir, Home: filepath.Join(dir, "home"), Cache: filepath.Join(dir, "cache"), log: &bytes.Buffer{}}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	s.dir = t.TempDir()
	for _, key := range []string{filepath.Join(dir, "host"), filepath.Join(s.dir, "user")} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dapple test", "-f", key).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	public, err := os.ReadFile(filepath.Join(s.dir, "user.pub"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "authorized"), public, 0o644))
	must(t, os.MkdirAll("/run/sshd", 0o755)) // sshd(8) drops its privileges there
	s.Port = freePort(t)
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	must(t, err)
	s.hostKV = fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, host)
	env := map[string]string{"DAPPLE_HOME": s.Home, "XDG_CACHE_HOME": s.Cache}
	for k, v := range o.Env {
		env[k] = v
	}
	var set string
	for k, v := range env {
		set += fmt.Sprintf(" \"%s=%s\"", k, v)
	}
	config := fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv%s
%s
`, s.Port, dir, dir, set, o.Config)
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644))
	argv := []string{path, "-D", "-e", "-f", filepath.Join(dir, "config")}
	if o.Apart {
		argv = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}, argv...)
	}
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may be dead already
		_ = s.cmd.Wait()         // it was killed: that is its error
		if t.Failed() {
			t.Logf("sshd said: %s", s.log)
		}
	})
	until(t, "sshd answers", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		return err == nil && c.Close() == nil
	})
	return s
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// A Client is the configuration of a person's ssh.
type Client struct {
	t      testing.TB
	dir    string
	config string
	known  string
}

// NewClient is a person who knows no machine yet.
func NewClient(t testing.TB) *Client {
	dir := t.TempDir()
	return &Client{t: t, dir: dir, known: filepath.Join(dir, "known_hosts")}
}

// Add lets the person reach the server by a name, with further lines of
// ssh_config(5), and know its key.
func (c *Client) Add(name string, s *Server, lines ...string) {
	c.t.Helper()
	c.AddUnknown(name, s, lines...)
	c.Know(s.hostKV)
}

// AddUnknown is Add of a machine whose key is not known.
func (c *Client) AddUnknown(name string, s *Server, lines ...string) {
	c.t.Helper()
	c.config += fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  Port %d\n  User root\n  IdentityFile %s/user\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile none\n",
		name, s.Port, s.dir, c.known)
	for _, l := range lines {
		c.config += "  " + l + "\n"
	}
	must(c.t, os.WriteFile(filepath.Join(c.dir, "config"), []byte(c.config), 0o600))
}

// Know takes a line into known_hosts.
func (c *Client) Know(line string) {
	c.t.Helper()
	f, err := os.OpenFile(c.known, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(c.t, err)
	_, err = f.WriteString(strings.TrimSpace(line) + "\n")
	must(c.t, err)
	must(c.t, f.Close())
}

// KnowAs takes the key of another server for that of s.
func (c *Client) KnowAs(s, other *Server) {
	c.t.Helper()
	_, key, _ := strings.Cut(other.hostKV, " ")
	c.Know(fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, key))
}

// Command is the person's ssh.
func (c *Client) Command() []string { return []string{"ssh", "-F", filepath.Join(c.dir, "config")} }

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to be that %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
