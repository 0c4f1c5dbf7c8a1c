package diskfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// made makes the parameters as a scenario does.
func made(with string) (Params, error) {
	var p Params
	if err := json.Unmarshal([]byte(with), &p); err != nil {
		return p, err
	}
	return p, p.check()
}

// fakeDisk is a file of a fake node that says how much is taken, so that it can be
// cut off and hang. It has 1000 blocks of 1 KiB, of which 50 are reserved and 200
// in use, and 100 inodes.
type fakeDisk struct {
	shared string
	space
}

func fake() fakeDisk {
	return fakeDisk{space: space{Type: "ext4", Device: "7:3", Mount: "/data", Block: 1024, Blocks: 1000, Free: 800, Avail: 750, Inodes: 100, InodesFree: 90}}
}

func taken(ctx context.Context, n targets.Node) (uint64, error) {
	out, err := n.Exec(ctx, "read", "taken")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(out), 10, 64)
}

func (d fakeDisk) look(ctx context.Context, n targets.Node, _ string) (space, error) {
	if _, err := procs.Of(n); err != nil {
		return space{}, err
	}
	t, err := taken(ctx, n)
	now := d.space
	now.Free, now.Avail = now.Free-min(t, now.Free), now.Avail-min(t, now.Avail)
	now.InodesFree -= min(t, now.InodesFree)
	return now, err
}

func (d fakeDisk) allowed(_ context.Context, _ targets.Node, s state, _ uint64) error {
	if d.shared != "" && s.Limit == 0 {
		return errors.New(d.shared)
	}
	return nil
}

func (d fakeDisk) hold(_ context.Context, n targets.Node, s state) (holder, error) {
	return &fakeHolder{d, n, s}, nil
}

func (d fakeDisk) refuses(ctx context.Context, n targets.Node, s state) (bool, string, error) {
	now, err := d.look(ctx, n, s.Path)
	return now.left(s) == 0, "tried", err
}

type fakeHolder struct {
	d fakeDisk
	n targets.Node
	s state
}

func (h *fakeHolder) look(ctx context.Context) (space, error) { return h.d.look(ctx, h.n, h.s.Path) }

func (h *fakeHolder) grow(ctx context.Context) error {
	now, err := h.look(ctx)
	if err != nil {
		return err
	}
	need := now.left(h.s) - min(h.s.Free, now.left(h.s))
	if !h.s.Inodes {
		need = (need + 1023) / 1024
	}
	if need == 0 {
		return nil
	}
	t, err := taken(ctx, h.n)
	if err != nil {
		return err
	}
	_, err = h.n.Exec(ctx, "write", "taken", fmt.Sprint(t+need))
	return err
}

func (h *fakeHolder) release(ctx context.Context) error {
	if t, err := taken(ctx, h.n); err != nil || t == 0 {
		return err
	}
	_, err := h.n.Exec(ctx, "write", "taken", "0")
	return err
}

// onFake is an injector of a process that has the given holders.
func onFake(p Params, d fakeDisk, hs *holders) injectors.Injector {
	x := newFiller(p)
	x.disk, x.holders, x.refill, x.patience = d, hs, time.Millisecond, 4*time.Millisecond
	return injectors.Of(kind, x)
}

func fakeNode() *faketarget.Node {
	n := faketarget.Patroni("pg1")
	if _, err := n.Exec(context.Background(), "write", "taken", "0"); err != nil {
		panic(err)
	}
	return n
}

func TestDiskfillKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"path": "/data"}`,
		`{"path": "/data", "free": "10KiB"}`,
		`{"path": "/data", "free": "1%", "root": true}`,
		`{"path": "/data", "inodes": true}`,
		`{"path": "/data", "inodes": true, "free": "5"}`,
		`{"path": "/data", "limit": "1MiB"}`,
	} {
		t.Run(with, func(t *testing.T) {
			p, err := made(with)
			if err != nil {
				t.Fatal(err)
			}
			// One process: what holds the space is in it, and a second process has
			// nothing to take back but waits for its death. See the tests on real
			// file systems.
			var hs *holders
			injectortest.Case{
				New:    func() injectors.Injector { return onFake(p, fake(), hs) },
				Reopen: func() injectors.Injector { return onFake(Params{}, fake(), hs) },
				Node:   func() *faketarget.Node { hs = &holders{}; return fakeNode() },
			}.Run(t)
		})
	}
}

func plan(t *testing.T, with string, d fakeDisk) (state, error) {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := onFake(p, d, &holders{}).Plan(t.Context(), injectors.Aim{On: []targets.Node{fakeNode()}})
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(faults[0].State, &s); err != nil {
		t.Fatal(err)
	}
	return s, nil
}

func TestWhatIsLeftIsCountedAsTheVictimCountsIt(t *testing.T) {
	for with, want := range map[string]uint64{
		`{"path": "/data"}`:                                  0,
		`{"path": "/data", "free": "10KiB"}`:                 10 << 10,
		`{"path": "/data", "free": "10%"}`:                   95 << 10, // of 950 blocks
		`{"path": "/data", "free": "10%", "root": true}`:     100 << 10,
		`{"path": "/data", "free": "10%", "inodes": true}`:   10,
		`{"path": "/data", "free": "7", "inodes": true}`:     7,
		`{"path": "/data", "free": "0B", "inodes": true}`:    0,
		`{"path": "/data", "free": "100KB", "limit": "1GB"}`: 100_000,
	} {
		if s, err := plan(t, with, fake()); err != nil || s.Free != want {
			t.Errorf("%s: %+v, %v; want %d", with, s, err, want)
		}
	}
}

func TestADiskThatCannotOrMustNotBeFilledIsRefusedWithTheReason(t *testing.T) {
	with := func(change func(*fakeDisk)) fakeDisk {
		d := fake()
		change(&d)
		return d
	}
	for _, c := range []struct {
		with string
		d    fakeDisk
		says string
	}{
		{`{"path": "/data"}`, with(func(d *fakeDisk) { d.Avail = 0 }), "full already"},
		{`{"path": "/data", "free": "99%"}`, fake(), "full already"},
		{`{"path": "/data", "inodes": true}`, with(func(d *fakeDisk) { d.InodesFree = 0 }), "full already"},
		{`{"path": "/data", "inodes": true}`, with(func(d *fakeDisk) { d.Inodes, d.InodesFree = 0, 0 }), "cannot run out of them"},
		{`{"path": "/data"}`, with(func(d *fakeDisk) { d.ReadOnly = true }), "read-only"},
		{`{"path": "/data"}`, with(func(d *fakeDisk) { d.Type = "nfs4" }), "possible: btrfs, ext4"},
		{`{"path": "/data", "limit": "10KiB"}`, fake(), "more than the limit of 10 KiB"},
		{`{"path": "/data"}`, with(func(d *fakeDisk) { d.shared = "the host's" }), "the host's"},
	} {
		if s, err := plan(t, c.with, c.d); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "node pg1") {
			t.Errorf("%s: %+v, %v; want %q", c.with, s, err, c.says)
		}
	}
	if s, err := plan(t, `{"path": "/data", "limit": "1MB"}`, with(func(d *fakeDisk) { d.shared = "the host's" })); err != nil || s.Limit != 1_000_000 {
		t.Errorf("with a limit it may: %+v, %v", s, err)
	}
	p, err := made(`{"path": "/data"}`)
	if err != nil {
		t.Fatal(err)
	}
	two := injectors.Aim{On: []targets.Node{fakeNode(), fakeNode()}}
	if _, err := onFake(p, fake(), &holders{}).Plan(t.Context(), two); err == nil || !strings.Contains(err.Error(), "same file system") {
		t.Errorf("one disk of two nodes: %v", err)
	}
}

func TestWhatTheVictimGivesBackIsTakenAgain(t *testing.T) {
	n, hs := fakeNode(), &holders{}
	p, err := made(`{"path": "/data"}`)
	if err != nil {
		t.Fatal(err)
	}
	inj := onFake(p, fake(), hs)
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	f := faults[0]
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	giveBack := func() {
		t.Helper()
		if _, err := n.Exec(t.Context(), "write", "taken", "700"); err != nil {
			t.Fatal(err)
		}
	}
	giveBack()
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil || !strings.Contains(proof, "50 KiB free") {
		t.Errorf("nobody took it again: %v, %q, %v", held, proof, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- inj.(injectors.Watcher).Watch(ctx, n, f, nil) }()
	until(t, "it is taken again", func() (bool, error) {
		held, proof, err := inj.Effect(t.Context(), n, f)
		return held, errors.Join(err, errors.New(proof))
	})
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := taken(t.Context(), n); left != 0 || err != nil {
		t.Errorf("%d blocks were taken after the end: %v", left, err)
	}
}

func until(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		done, err := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s: %v", what, err)
		}
	}
}

func TestParametersThatCannotBeAreRefused(t *testing.T) {
	for with, says := range map[string]string{
		`{}`:                                             "path is missing",
		`{"path": "data"}`:                               "absolute",
		`{"path": "/d", "free": "101%"}`:                 "between 0% and 100%",
		`{"path": "/d", "free": "-1%"}`:                  "between 0% and 100%",
		`{"path": "/d", "free": "NaN%"}`:                 "no share",
		`{"path": "/d", "free": "-1MiB"}`:                "cannot be negative",
		`{"path": "/d", "free": "1 parsec"}`:             "use a number with a unit",
		`{"path": "/d", "free": ""}`:                     "no size",
		`{"path": "/d", "limit": "5%"}`:                  "not a share",
		`{"path": "/d", "limit": "0B"}`:                  "allows nothing",
		`{"path": "/d", "inodes": true, "free": "1MiB"}`: "numbers of inodes",
	} {
		if p, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want %q", with, p, err, says)
		}
	}
}

func FuzzAmount(f *testing.F) {
	for _, s := range []string{"10MiB", "1.5%", "0", "100 %", "-1", "1e300%", "99999999999EB", "٣MB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a Amount
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		if n := a.of(1 << 40); a.shared() && n > 1<<40 {
			t.Errorf("%q of %d is %d", text, 1<<40, n)
		}
		var again Amount
		if err := again.UnmarshalText([]byte(a.String())); err != nil || again != a {
			t.Errorf("%q is read as %+v, and that as %+v, %v", text, a, again, err)
		}
	})
}
