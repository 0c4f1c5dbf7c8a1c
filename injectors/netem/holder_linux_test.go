package netem

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// holderEnv makes this test binary a process that holds one fault, as an agent
// does: what it is to hold comes on its stdin.
const holderEnv = "DAPPLE_TEST_NETEM_HOLDER"

type order struct {
	Spec  targets.Spec
	Fault injectors.Fault
	Lease time.Duration
	Every time.Duration // between renewals; 0 is never
}

func holder() int {
	ctx := context.Background()
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	n, err := netns.Opener().Open(ctx, o.Spec)
	if err == nil {
		inj := Kind().Reopen()
		renew := func() error { return inj.(injectors.Renewer).Renew(ctx, n, o.Fault, o.Lease) }
		if err = renew(); err == nil {
			err = inj.Inject(ctx, n, o.Fault)
		}
		if err == nil {
			fmt.Println("held")
			err = keep(renew, o.Every)
		}
	}
	fmt.Println("error:", err)
	return 1
}

func keep(renew func() error, every time.Duration) error {
	if every == 0 {
		every = time.Hour
	}
	for range time.Tick(every) {
		if err := renew(); err != nil {
			return err
		}
	}
	return nil
}

// hire starts a process that holds the fault, and returns it once it does.
func hire(t testing.TB, l *netns.Lab, f injectors.Fault, o order) *exec.Cmd {
	t.Helper()
	o.Spec, o.Fault = l.Node(f.Node).Spec(), f
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := json.NewEncoder(in).Encode(o); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 1000)
	k, _ := out.Read(line)
	if said := strings.TrimSpace(string(line[:k])); said != "held" {
		t.Fatalf("the holder said %q", said)
	}
	return cmd
}
