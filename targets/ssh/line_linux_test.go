package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/ssh/sshtest"
)

// standin is a program in dapple's place, for this kind of machine and for another.
var standin = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("", "dapple-standin-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "standin"), "testdata/standin.go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := standin(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func options(t *testing.T, c *sshtest.Client, host string) Options {
	t.Helper()
	dir, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadProgram(filepath.Join(dir, "standin"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Host: host, Command: c.Command(), Program: p, Version: "v1", MarkEnv: "STANDIN_MARK"}
}

func open(t *testing.T, o Options) *Line {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// refused opens, and wants that to be refused with those words; the hint is told too.
func refused(t *testing.T, o Options, words ...string) {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err == nil {
		_ = l.Close()
		t.Fatal("it was let pass")
	}
	text := err.Error() + " / " + strings.Join(diag.Hints(err), "; ")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q: %s", w, text)
		}
	}
}

func TestAMachineIsReachedAndTheProgramCopiedOnce(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	o := options(t, c, "db1")
	l := open(t, o)
	copied := l.facts.path
	if !strings.HasPrefix(copied, s.Cache+"/dapple/agent/dapple-v1-") {
		t.Errorf("it was copied to %s", copied)
	}
	info, err := os.Stat(copied)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	// What is run there is marked by a process that ends with the connection.
	argv := l.Argv("01drill", "mark", "a b", "c'd")
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 4 || fields[0] != "01drill" || fields[1] != fields[3] || !strings.Contains(string(out), "[a b c'd]") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := l.Exec(t.Context(), "printf", "%s|", "it's", "$HOME"); err != nil || string(out) != "it's|$HOME|" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := l.Exec(t.Context(), "sh", "-c", "echo no >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("%v", err)
	}
	// A second connection finds it there; one that was changed is replaced.
	again := open(t, o)
	if now, err := os.Stat(again.facts.path); err != nil || !os.SameFile(info, now) {
		t.Errorf("it was copied again: %v", err)
	}
	if err := os.WriteFile(copied, []byte("#!/bin/sh\necho v1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	open(t, o)
	if p, err := ReadProgram(copied); err != nil || p.sum != o.Program.sum {
		t.Errorf("it was not replaced: %v", err)
	}
}

func TestAMachineThatDoesNotProveWhoItIsIsNotSpokenTo(t *testing.T) {
	s, other, c := sshtest.Start(t, sshtest.Options{}), sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	// Whatever the operator's configuration says of it.
	c.AddUnknown("db1", s, "StrictHostKeyChecking no")
	o := options(t, c, "db1")
	refused(t, o, "is not known as that of [127.0.0.1]", "ssh-ed25519 SHA256:", fmt.Sprintf("ssh-keyscan -p %d 127.0.0.1", s.Port), "nothing was done there")
	c.KnowAs(s, other)
	refused(t, o, "is not the one that is known", "SHA256:", "known_hosts", "ssh-keygen -R")
	for _, dir := range []string{s.Cache, s.Home} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was done there: %v", dir, err)
		}
	}
}

func TestAMachineBehindAnotherIsReachedByTheOperatorsConfiguration(t *testing.T) {
	gate, s, c := sshtest.Start(t, sshtest.Options{}), sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("gate", gate)
	c.Add("db1", s, "ProxyJump gate")
	l := open(t, options(t, c, "db1"))
	if out, err := l.Exec(t.Context(), "sh", "-c", "echo $DAPPLE_HOME"); err != nil || strings.TrimSpace(string(out)) != s.Home {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := os.Stat(gate.Cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was put on the gate: %v", err)
	}
}

func TestWhatKeepsAMachineFromBeingUsedIsSaidWithTheWayOut(t *testing.T) {
	c := sshtest.NewClient(t)
	fine := sshtest.Start(t, sshtest.Options{})
	c.Add("stranger", fine, "IdentityFile none", "PubkeyAuthentication no")
	refused(t, options(t, c, "stranger"), "lets nobody in", "ssh-add")
	c.Add("noname", fine, "HostName none.invalid")
	dead := sshtest.Start(t, sshtest.Options{})
	c.Add("dead", dead)
	if err := syscall.Kill(dead.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", dead.Port)); err != nil {
			break
		} else if conn.Close() != nil {
			t.Fatal("closing")
		}
	}
	refused(t, options(t, c, "dead"), "cannot be reached", "does sshd run there")
	refused(t, options(t, c, "-oProxyCommand=true"), "no machine that ssh could know")

	tools := t.TempDir()
	if err := os.Chmod(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	uname := "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo riscv64\n"
	if err := os.WriteFile(filepath.Join(tools, "uname"), []byte(uname), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Add("risc", sshtest.Start(t, sshtest.Options{Env: map[string]string{"PATH": tools + ":/usr/bin:/bin"}}))
	refused(t, options(t, c, "risc"), "it is riscv64", "GOARCH=riscv64", "DAPPLE_AGENT")
	c.Add("user", sshtest.Start(t, sshtest.Options{Config: `ForceCommand /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"`}))
	refused(t, options(t, c, "user"), "not root there", "sudo", "NOPASSWD")
	c.Add("noisy", sshtest.Start(t, sshtest.Options{Config: `ForceCommand echo welcome; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`}))
	refused(t, options(t, c, "noisy"), `said "welcome" before it was asked`, "start-up files")
	c.Add("menu", sshtest.Start(t, sshtest.Options{Config: `ForceCommand /bin/true`}))
	refused(t, options(t, c, "menu"), "the connection ended")
}

func TestADirectoryFromWhichNothingMayBeRunIsSaid(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	if err := os.Mkdir(s.Cache, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.Cache, "tmpfs", syscall.MS_NOEXEC, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(s.Cache, 0); err != nil {
			t.Error(err)
		}
	})
	c.Add("db1", s)
	o := options(t, c, "db1")
	refused(t, o, "cannot be run there (a file system mounted noexec?)", "dir: /opt/dapple")
	o.Dir = filepath.Join(s.Dir, "opt")
	if l := open(t, o); !strings.HasPrefix(l.facts.path, o.Dir) {
		t.Errorf("%s", l.facts.path)
	}
}

func TestAConnectionThatDiesIsKnownAndEndsWhatItCarried(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	l := open(t, options(t, c, "db1"))
	relay, err := StartRelay(t.Context(), l.Argv("d", "relay"))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	if err := l.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for what, lost := range map[string]<-chan struct{}{"the connection": l.Lost(), "the relay": relay.Lost()} {
		select {
		case <-lost:
		case <-time.After(30 * time.Second):
			t.Errorf("the loss of %s was not noticed", what)
		}
	}
	_, err = relay.Dial(t.Context(), targets.Spec{Name: "a"}, "tcp", "127.0.0.1:1")
	if !errors.Is(err, ErrRelay) || !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("%v: want an error that says nothing of the node", err)
	}
}

func TestConnectionsFromOverThereAreAsOnesFromHere(t *testing.T) {
	s, c := sshtest.Start(t, sshtest.Options{}), sshtest.NewClient(t)
	c.Add("db1", s)
	relay, err := StartRelay(t.Context(), open(t, options(t, c, "db1")).Argv("d", "relay"))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	testRelay(t, relay)
}
