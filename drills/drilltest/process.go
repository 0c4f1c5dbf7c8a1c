package drilltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/injectors/agent"
)

const module = "github.com/dapple-drills/dapple"

// Binary is the program that does the drills, found as for every agent: the one
// that $DAPPLE_AGENT names; or the dapple of this version on PATH; or cmd/dapple,
// built by the go command at the version that the test's module requires, and
// cached. For the last one, the module must know what the program is made of:
//
//	go get -tool github.com/dapple-drills/dapple/cmd/dapple
func Binary(t testing.TB) string {
	t.Helper()
	path, err := agent.FindBinary(t.Context(), version())
	if err != nil {
		t.Fatalf("drill: %v\nif it says that go.sum lacks something: go get -tool %s/cmd/dapple", err, module)
	}
	return path
}

// version is that of this module in the running test. Sources that are no release
// have none by which a program on PATH could be known: it is built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == module && m.Replace == nil && m.Version != "" && m.Version != "(devel)" {
				return m.Version
			}
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		wd = "unknown"
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, wd) // never fails
	return fmt.Sprintf("devel-%x", h.Sum64())
}

// turn waits until no other test drills on this machine.
func turn(ctx context.Context) (release func() error, err error) {
	home, err := journal.Home()
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := journal.Take(home, "drills of go test", fmt.Sprintf("of pid %d", os.Getpid()))
		if err == nil {
			return lock.Release, nil
		}
		if !errors.Is(err, journal.ErrLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// interruptTime is how long an interrupted drill may take to take its faults back
// before it is killed. Its agent then takes them back by itself.
const interruptTime = 40 * time.Second

// execute runs the program to its end. What it says on its way is the output of
// the test; said is the end of it.
func execute(ctx context.Context, t testing.TB, argv []string) (code int, said string, err error) {
	var tail limited
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = io.MultiWriter(t.Output(), &tail)
	cmd.Stderr = cmd.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptTime
	cmd.SysProcAttr = dieWith()
	done := make(chan error, 1)
	go func() {
		// The signal at the death of the parent is that of the thread which
		// started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	err = <-done
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), tail.String(), nil
	case errors.Is(err, exec.ErrWaitDelay) || ctx.Err() != nil && err != nil:
		return cmd.ProcessState.ExitCode(), tail.String(), errors.Join(context.Cause(ctx), err)
	}
	return 0, tail.String(), err
}

// limited keeps the end of what is written to it.
type limited struct{ b bytes.Buffer }

const maxSaid = 8 << 10

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p)
	if n := l.b.Len() - maxSaid; n > 0 {
		l.b.Next(n)
	}
	return len(p), nil
}

func (l *limited) String() string { return l.b.String() }
