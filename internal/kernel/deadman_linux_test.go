package kernel

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const doomed = "DAPPLE_TEST_DOOMED"

// TestDoomed is no test of its own: it is run as a process that is to be killed.
func TestDoomed(t *testing.T) {
	if os.Getenv(doomed) == "" {
		return
	}
	d, err := NewDeadman()
	if err == nil {
		err = d.Set(time.Hour)
	}
	if err == nil {
		err = d.Set(300 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestAStoppedProcessIsKilledAtItsDeadline(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestDoomed$")
	cmd.Env = append(os.Environ(), doomed+"=1")
	begin := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it ended with %v, want SIGKILL", err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("it was killed after %v", took)
	}
}

func TestADeadlineThatIsClosedKillsNobody(t *testing.T) {
	d, err := NewDeadman()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Set(-1); err == nil {
		t.Error("a deadline in the past was taken")
	}
	if err := d.Set(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond) // it would be dead
}
