package dns

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

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// holderEnv makes this test binary a process that holds one fault, as an agent
// does: what it is to hold comes on its stdin.
const holderEnv = "DAPPLE_TEST_HOLDER"

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
func (l *lab) hire(t testing.TB, with string, o order) *exec.Cmd {
	t.Helper()
	f, err := l.plan(t, with)
	if err != nil {
		t.Fatal(err)
	}
	o.Spec, o.Fault = l.Node("app").Spec(), f
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
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

// A program that asks again by the socket that it has is answered, once the holder
// is dead: nothing remembers where its first question was led to.
func TestTheDeathOfTheHolderLetsNamesResolveAtOnceByTheSameSocket(t *testing.T) {
	l := newLab(t)
	cmd := l.hire(t, `{"drop": true}`, order{Lease: time.Hour})
	c := l.client(t, "udp", l.servers[0])
	if got, _ := exchange(t, c, "db.example.com.", dns.TypeA, never); got != "nothing" {
		t.Fatalf("while it is held: %s", got)
	}
	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "an answer by the same socket", func() bool {
		got, _ := exchange(t, c, "db.example.com.", dns.TypeA, 10*time.Millisecond)
		return got == "NOERROR 10.99.0.1"
	})
	t.Logf("answered %v after the kill", time.Since(killed))
}

func TestAHolderThatHangsLosesTheQuestionsWhenItsLeaseEnds(t *testing.T) {
	l := newLab(t)
	const lease = 500 * time.Millisecond
	cmd := l.hire(t, `{"drop": true}`, order{Lease: lease, Every: lease / 5})
	pause(lease + lease/2) // it is renewed beyond its first lease
	c := l.client(t, "udp", l.servers[1])
	if got, _ := exchange(t, c, "db.example.com.", dns.TypeA, never); got != "nothing" {
		t.Fatalf("while it is held: %s", got)
	}
	before := time.Now()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	until(t, "an answer by the same socket", func() bool {
		got, _ := exchange(t, c, "db.example.com.", dns.TypeA, 10*time.Millisecond)
		return got == "NOERROR 10.99.0.1"
	})
	answered := time.Now()
	if answered.Before(before.Add(lease/2)) || answered.After(stopped.Add(lease+500*time.Millisecond)) {
		t.Errorf("answered %v after it was stopped, want the rest of the lease of %v", answered.Sub(stopped), lease)
	}
	t.Logf("answered %v after the holder was stopped, lease %v", answered.Sub(stopped), lease)
}
