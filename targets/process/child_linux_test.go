package process

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// startOn starts a sleeper through run and returns who it is.
func startOn(t *testing.T, run func(*exec.Cmd) error) (*exec.Cmd, targets.ProcID) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = memberAttr()
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	id, err := kernel.Identity(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, id
}

// startOnDyingThread starts cmd from a thread that ends at once.
func startOnDyingThread(cmd *exec.Cmd) error {
	done := make(chan error)
	start := func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		done <- cmd.Start()
	}
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() != os.Getpid() {
			start()
			return
		}
		// The first thread of a process is the one that Go does not end. While
		// it is taken, the next goroutine is on another.
		started := make(chan struct{})
		go func() {
			defer close(started)
			start()
		}()
		<-started
	}()
	return <-done
}

func TestThreadsThatEndInTheKeeperDoNotKillItsMembers(t *testing.T) {
	cmd, id := startOn(t, newSpawner().start)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()

	// The control: what is started from a thread that ends dies with it. If
	// this did not hold, the test below could not fail.
	control, doomed := startOn(t, startOnDyingThread)
	_ = control.Wait()
	if alive(doomed) {
		t.Fatal("PDEATHSIG does not work here")
	}

	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { runtime.LockOSThread() })
	}
	wg.Wait()
	runtime.GC()
	if !alive(id) {
		t.Error("a member died although its keeper lives")
	}
}
