package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
)

func TestAKilledNodeIsSeenDeadStartedAgainAndToldByWhom(t *testing.T) {
	home, n := t.TempDir(), node(t)
	c := client(t, home, 5*time.Second)
	before := time.Now()
	was := main1(t, n)
	h := inject(t, c, "k", n, planned(t, n, `{}`))
	after := time.Now()
	for _, s := range []agent.Span{h.Inject, h.Effect} {
		if s.Lo.After(s.Hi) || s.Lo.Before(before.Add(-c.Epsilon()*2)) || s.Hi.After(after.Add(c.Epsilon()*2)) {
			t.Errorf("span %v to %v is not within %v to %v", s.Lo, s.Hi, before, after)
		}
	}
	if h.Effect.Hi.Before(h.Inject.Lo) {
		t.Errorf("the effect %v is before the call %v", h.Effect, h.Inject)
	}
	if dead, err := kernel.Dying(was); !dead || err != nil {
		t.Errorf("the main process is still there, %v", err)
	}
	if records, err := agent.Outstanding(home); err != nil || len(records) != 1 || records[0].Key != "k" {
		t.Errorf("while it holds the journal says %+v, %v", records, err)
	}
	span, err := c.Revert(t.Context(), "k")
	if err != nil || span.Lo.Before(h.Effect.Lo) || span.Hi.Before(span.Lo) {
		t.Errorf("Revert: %+v, %v", span, err)
	}
	if now := main1(t, n); now.PID == 0 || now == was {
		t.Errorf("main process is %v, was %v", now, was)
	}
	s := sighting(t, c, "restart")
	if s.By != "dapple" || s.Key != "k" || s.Node != "n1" || s.Hi.Before(span.Lo) {
		t.Errorf("%+v, want a restart by dapple after %v", s, span.Lo)
	}
	empty(t, home)
	id, rss := c.Agent()
	t.Logf("the agent has %d KiB resident, epsilon %v, effect within %v", rss>>10, c.Epsilon(), h.Effect.Hi.Sub(h.Effect.Lo))
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	gone(t, id)
}

func TestAStoppedProcessThatSomebodyContinuesIsAHole(t *testing.T) {
	home, n := t.TempDir(), node(t)
	c := client(t, home, time.Second)
	id := main1(t, n)
	inject(t, c, "k", n, planned(t, n, `{"signal": "STOP"}`))
	if got := stateOf(t, id); got != "T" {
		t.Fatalf("state is %s, want T", got)
	}
	from := time.Now()
	if err := syscall.Kill(id.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s := sighting(t, c, "hole")
	if s.Key != "k" || s.Hi.Before(from) || s.Lo.After(s.Hi) || s.Evidence == "" {
		t.Errorf("%+v", s)
	}
	if _, err := c.Revert(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	empty(t, home)
}

func TestAFaultHoldsForAsLongAsItsLeaseIsRenewed(t *testing.T) {
	n := node(t)
	lease := time.Second // shorter, a busy machine may not renew it in time
	c := client(t, t.TempDir(), lease)
	id := main1(t, n)
	inject(t, c, "k", n, planned(t, n, `{"signal": "STOP"}`))
	<-time.After(5 * lease / 2)
	if got := stateOf(t, id); got != "T" {
		t.Errorf("state is %s, want T", got)
	}
	select {
	case s := <-c.Sightings():
		t.Errorf("%+v", s)
	default:
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := stateOf(t, id); got == "T" {
		t.Error("Close left it stopped")
	}
}

func TestRevertIsHarmlessTwiceAndForWhatWasNeverInjected(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), 5*time.Second)
	inject(t, c, "k", n, planned(t, n, `{"signal": "STOP"}`))
	for _, key := range []string{"k", "k", "never"} {
		if _, err := c.Revert(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestAProcessThatIsAnotherByNowIsNotTouched(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), 5*time.Second)
	f := planned(t, n, `{}`)
	was := main1(t, n)
	kill9(t, was)
	until(t, "the engine sees it", func() bool { return main1(t, n).PID == 0 })
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := main1(t, n)
	// The number of the one that is there, and the start time of the one that was
	// planned for: what the kernel makes of it when it uses a number again.
	f.State = []byte(strings.Replace(string(f.State), jsonPID(was.PID), jsonPID(now.PID), 1))
	if h, err := c.Inject(t.Context(), "k", n.Spec(), f); err == nil {
		t.Errorf("injected into a stranger: %+v", h)
	}
	if main1(t, n) != now {
		t.Error("the stranger was killed")
	}
}

func jsonPID(pid int) string {
	data, err := json.Marshal(map[string]int{"pid": pid})
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(data), "{}")
}

func TestAnEffectThatIsNotSeenIsSaid(t *testing.T) {
	n := node(t)
	home := t.TempDir()
	o := options(home, 5*time.Second)
	c, err := agent.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := c.Inject(ctx, "k", n.Spec(), stuckFault(stuckState{NoEffect: true}))
	if err != nil || h.OK || h.Proof == "" {
		t.Errorf("%+v, %v", h, err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	empty(t, home)
}

func stuckFault(s stuckState) injectors.Fault {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return injectors.Fault{Kind: "stuck", Node: "n1", Does: "hangs", Undo: "none", State: data}
}

func TestACancelledInjectReturnsThoughTheInjectorHangs(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), 5*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Inject(ctx, "k", n.Spec(), stuckFault(stuckState{HangInject: true})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	// The agent goes on with others.
	inject(t, c, "k2", n, planned(t, n, `{"signal": "STOP"}`))
	if _, err := c.Revert(t.Context(), "k2"); err != nil {
		t.Error(err)
	}
	id, _ := c.Agent()
	kill9(t, id) // or Close would wait for the one that hangs
}

func TestAnAgentOfAnotherVersionIsRefused(t *testing.T) {
	o := options(t.TempDir(), time.Second)
	o.Argv[1] = "impostor"
	c, err := agent.Start(t.Context(), o)
	if err == nil {
		t.Fatalf("it was taken: %v", c)
	}
	for _, want := range []string{version, "v9.9.9", "DAPPLE_AGENT"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestWhatIsNoAgentIsRefused(t *testing.T) {
	for name, argv := range map[string][]string{
		"says something else": {"echo", "hello"},
		"dies":                {"sh", "-c", "echo not me >&2; exit 3"},
		"says nothing":        {"sleep", "600"},
		"is not there":        {"/nowhere/dapple", "agent"},
		"is not given":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t.TempDir(), time.Second)
			o.Argv = argv
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			c, err := agent.Start(ctx, o)
			if err == nil {
				t.Fatalf("it was taken: %v", c)
			}
			if name == "dies" && !strings.Contains(err.Error(), "not me") {
				t.Errorf("%q does not hold what it wrote", err)
			}
		})
	}
}

func TestTheAgentDoesNotGetTheRunnersSignals(t *testing.T) {
	n := node(t)
	c := client(t, t.TempDir(), 5*time.Second)
	id, _ := c.Agent()
	mine, err := syscall.Getpgid(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if its, err := syscall.Getpgid(id.PID); err != nil || its == mine {
		t.Errorf("process group %d, ours is %d, %v", its, mine, err)
	}
	main := main1(t, n)
	inject(t, c, "k", n, planned(t, n, `{"signal": "STOP"}`))
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
		if err := syscall.Kill(id.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Inject(t.Context(), "k2", n.Spec(), stuckFault(stuckState{})); err != nil {
		t.Errorf("it does not answer any more: %v", err)
	}
	if got := stateOf(t, main); got != "T" {
		t.Errorf("state is %s, want T", got)
	}
}
