package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
)

// Options say how a machine is reached, and what is to run there.
type Options struct {
	Host    string   // as ssh knows it
	Command []string // ssh and options of the operator's; none: "ssh"
	// Program is copied there, unless it is there already; Version is part of its
	// name. Dir is where to; "" is dapple/agent in the user's cache.
	Program Program
	Version string
	Dir     string
	// Prepared says that this process has put the program there already, and seen
	// it run: what takes long is not done again.
	Prepared bool
	// MarkEnv is the variable by which what is run there is marked: its value is
	// the drill's id, the number of the process there that ends with the
	// connection, and when that process began.
	MarkEnv string
}

func (o Options) check() error {
	switch {
	case o.Host == "" || strings.HasPrefix(o.Host, "-") || strings.ContainsAny(o.Host, " \t\r\n\x00"):
		return fmt.Errorf("%q is no machine that ssh could know", o.Host)
	case o.Dir != "" && (!filepath.IsAbs(o.Dir) || !plain.MatchString(o.Dir)):
		return fmt.Errorf("dir %q is no absolute path of plain letters", o.Dir)
	}
	return nil
}

// always is what no configuration of the operator's changes: a machine proves who
// it is, nobody is asked, and nothing is forwarded (ssh_config(5)).
func always() []string {
	var argv []string
	for _, o := range []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectTimeout=15",
		"ServerAliveInterval=5", "ServerAliveCountMax=3", "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes",
		"PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no", "ControlPersist=no", "LogLevel=ERROR",
	} {
		argv = append(argv, "-o", o)
	}
	return argv
}

// A Line is one connection to one machine, with the program over there.
type Line struct {
	o       Options
	dir     string // of the socket by which sessions share the connection
	facts   facts
	cmd     *exec.Cmd
	stdin   io.Closer
	said    tail
	over    chan struct{}
	leaving sync.Once
}

// Open connects, looks at the machine, and puts the program there. ctx bounds that
// alone; the connection lives until Close, or until this process ends.
func Open(ctx context.Context, o Options) (*Line, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if len(o.Command) == 0 {
		o.Command = []string{"ssh"}
	}
	l := &Line{o: o, over: make(chan struct{})}
	err := l.connect(ctx)
	if err == nil && !o.Prepared {
		if err = l.prepare(ctx); err != nil {
			err = fmt.Errorf("machine %s: %w", o.Host, err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// connect makes the connection that all sessions share, and reads what the machine
// says of itself.
func (l *Line) connect(ctx context.Context) (err error) {
	if l.dir, err = socketDir(); err != nil {
		return err
	}
	argv := append(l.ssh("ControlMaster=yes"), "exec sh -s")
	l.cmd = exec.Command(argv[0], argv[1:]...)
	l.cmd.SysProcAttr = ownSession() // a Ctrl-C at our terminal is not for it
	l.cmd.Stderr, l.cmd.WaitDelay = &l.said, time.Second
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		return err
	}
	l.stdin = stdin
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Close()) }()
	l.cmd.Stdout = theirs
	err = l.cmd.Start()
	err = errors.Join(err, theirs.Close())
	if err != nil {
		close(l.over)
		return diag.Hint(fmt.Errorf("starting ssh: %w", err), "install it (apt-get install openssh-client), or name it in DAPPLE_SSH")
	}
	go func() {
		_ = l.cmd.Wait() // how it ended is told by its stderr
		close(l.over)
	}()
	// A broken pipe is told by the silence that follows.
	_, _ = io.WriteString(stdin, script(l.o.Dir, l.o.Program.name(l.o.Version), !l.o.Prepared))
	stop := context.AfterFunc(ctx, func() { _ = l.cmd.Process.Kill() }) // it may have ended by itself
	defer stop()
	if l.facts, err = readFacts(ours); err != nil {
		return l.unreachable(ctx, err)
	}
	return nil
}

// unreachable says why there is no connection.
func (l *Line) unreachable(ctx context.Context, err error) error {
	var noise noiseError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ssh %s: %w", l.o.Host, context.Cause(ctx))
	case errors.As(err, &noise):
		return diag.Hint(fmt.Errorf("ssh %s: %w", l.o.Host, err),
			"have the start-up files of that user's shell (~/.bashrc) write nothing unless it is interactive; a key that may run one command alone (command=, ForceCommand) is of no use here")
	}
	<-l.over
	said := l.said.String()
	if strings.Contains(said, "Host key verification failed") {
		said += "\n" + l.keys(ctx)
	}
	return explain(l.o.Host, said, err)
}

// keys asks once more, to be told which key the machine showed.
func (l *Line) keys(ctx context.Context) string {
	argv := l.ssh("ControlMaster=no", "LogLevel=DEBUG1")
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "true")...)
	cmd.SysProcAttr, cmd.Stderr, cmd.WaitDelay = ownSession(), &said, time.Second
	_ = cmd.Run() // it fails as it did before
	return said.String()
}

// prepare finds out whether the program can run there, and puts it there.
func (l *Line) prepare(ctx context.Context) error {
	if err := errors.Join(l.o.Program.runsOn(l.facts), l.facts.privileges()); err != nil {
		return err
	}
	if l.facts.sum != l.o.Program.sum {
		if err := l.copy(ctx); err != nil {
			return err
		}
	}
	out, said, err := l.run(ctx, nil, sh(`exec "$1" version`, l.facts.path))
	if err != nil {
		return startable(l.facts.path, said, err)
	}
	if !strings.Contains(string(out), l.o.Version) {
		return fmt.Errorf("%s says that it is %q there, want %s", l.facts.path, strings.TrimSpace(string(out)), l.o.Version)
	}
	return nil
}

func (l *Line) copy(ctx context.Context) (err error) {
	f, err := os.Open(l.o.Program.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, said, err := l.run(ctx, f, sh(install, l.facts.path, l.o.Program.sum)); err != nil {
		return diag.Hint(fmt.Errorf("copying the program to %s there: %w: %s", l.facts.path, err, said),
			"name another directory: dir: /opt/dapple at the node in the system file")
	}
	return nil
}

// ssh is a command line up to the machine, with options that count before those
// of always, which count before those of any file.
func (l *Line) ssh(options ...string) []string {
	argv := append([]string{}, l.o.Command...)
	for _, o := range append(options, "ControlPath="+filepath.Join(l.dir, "s")) {
		argv = append(argv, "-o", o)
	}
	return append(append(argv, always()...), "--", l.o.Host)
}

// run runs a command line of the remote shell's.
func (l *Line) run(ctx context.Context, stdin io.Reader, line string) (out []byte, said string, err error) {
	argv := append(l.ssh("ControlMaster=no"), line)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr, cmd.WaitDelay = ownSession(), time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	said = strings.TrimSpace(stderr.String())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == sshFailed {
		err = explain(l.o.Host, said, err)
	}
	return stdout.Bytes(), said, err
}

// sshFailed is the exit code of ssh's own errors (ssh(1)).
const sshFailed = 255

// Exec runs argv on the machine, as the user who is logged in there.
func (l *Line) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	out, said, err := l.run(ctx, nil, "exec "+quoteAll(argv))
	if err != nil {
		return out, fmt.Errorf("%w: %s", err, said)
	}
	return out, nil
}

// Argv runs the program over there, as root, with args, for a drill.
func (l *Line) Argv(drill string, args ...string) []string {
	text := start(l.facts.root, l.o.MarkEnv)
	return append(l.ssh("ControlMaster=no"), sh(text, append([]string{l.facts.path, drill}, args...)...))
}

// Says is the machine in words.
func (l *Line) Says() string {
	how := "as root"
	if l.facts.root != "yes" {
		how = "by sudo"
	}
	return fmt.Sprintf("%s %s, %s, the program is %s", l.facts.os, l.facts.arch, how, l.facts.path)
}

// Lost is closed when the connection has ended.
func (l *Line) Lost() <-chan struct{} { return l.over }

// leave is how long a connection may take to end in peace.
const leave = 2 * time.Second

// Close ends the connection: what is still run over it loses its stdin.
func (l *Line) Close() (err error) {
	l.leaving.Do(func() {
		if l.stdin != nil {
			_ = l.stdin.Close() // it may have been closed by its end
		}
		if l.cmd != nil && l.cmd.Process != nil {
			t := time.NewTimer(leave)
			defer t.Stop()
			select {
			case <-l.over:
			case <-t.C:
				_ = l.cmd.Process.Kill()
				<-l.over
			}
		}
		if l.dir != "" {
			err = os.RemoveAll(l.dir)
		}
	})
	return err
}

// socketDir is a directory of our own with a short path: the address of a socket
// has room for some hundred letters (unix(7)).
func socketDir() (string, error) {
	at := os.TempDir()
	if len(at) > 40 {
		at = "/tmp"
	}
	dir, err := os.MkdirTemp(at, "dapple-ssh-")
	if err != nil {
		return "", fmt.Errorf("making a place for the connection's socket: %w", err)
	}
	return dir, nil
}

// A tail keeps the end of what ssh writes to its stderr.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - 8<<10; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}

// HostName is where ssh finds the machine: HostName of its configuration. Nothing
// is connected for it.
func (l *Line) HostName(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, l.o.Command[0], append(append([]string{}, l.o.Command[1:]...), "-G", "--", l.o.Host)...).Output()
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "hostname "); ok {
			return name, err
		}
	}
	return "", fmt.Errorf("ssh -G %s names no host: %w", l.o.Host, err)
}

// Doctor says which ssh would be used.
func Doctor(ctx context.Context, command []string) (says string, err error) {
	if len(command) == 0 {
		command = []string{"ssh"}
	}
	out, err := exec.CommandContext(ctx, command[0], append(append([]string{}, command[1:]...), "-V")...).CombinedOutput()
	if err != nil {
		return "", diag.Hint(fmt.Errorf("%s -V: %w: %s", command[0], err, strings.TrimSpace(string(out))), "install it (apt-get install openssh-client), or name it in DAPPLE_SSH")
	}
	return strings.TrimSpace(string(out)) + "; host keys are always checked; agents over there need root, or sudo without being asked", nil
}
