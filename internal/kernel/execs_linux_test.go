package kernel

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
)

func TestAProgramThatIsExecutedIsSeenAtOnce(t *testing.T) {
	testenv.NeedRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	seen, listens, done := make(chan int, 1<<16), make(chan struct{}), make(chan error, 1)
	go func() { done <- Execs(ctx, func() { close(listens) }, func(pid int) { seen <- pid }) }()
	select {
	case <-listens:
	case err := <-done:
		t.Fatal(err)
	}
	for range 20 {
		cmd := exec.Command("true")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.After(10 * time.Second); ; {
			select {
			case pid := <-seen:
				if pid != cmd.Process.Pid {
					continue // somebody else's
				}
			case <-deadline:
				t.Fatal("it was not seen")
			}
			break
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended by %v", err)
	}
}
