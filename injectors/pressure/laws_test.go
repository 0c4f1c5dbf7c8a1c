package pressure

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// made makes the parameters as a scenario does.
func made(with string) (Params, error) {
	p := Params{By: Limit}
	if err := json.Unmarshal([]byte(with), &p); err != nil {
		return p, err
	}
	return p, p.check()
}

// fakeGround is files of a fake node, so that it can be cut off and hang. A limit
// that is set is run into at once, unless idle; a burner is a file too.
type fakeGround struct {
	has  room
	idle bool
}

func fake(v2 bool) fakeGround {
	r := room{
		Cores: 2, Quota: "-1", Period: 100_000, Most: "9223372036854771712",
		Total: 1 << 30, Used: 800 << 20, Fixed: 50 << 20, Machine: 8 << 30, Unused: 6 << 30,
		CPU: cgroups.Group{Dir: "/fake/cpu", Inode: 7, V2: v2}, Memory: cgroups.Group{Dir: "/fake/memory", Inode: 8, V2: v2},
	}
	if v2 {
		r.Quota, r.Most = "max 100000", "max"
	}
	return fakeGround{has: r}
}

func (g fakeGround) room(_ context.Context, n targets.Node, _ Params) (room, error) {
	_, err := procs.Of(n)
	return g.has, err
}

const burnerFile = "burner"

func (g fakeGround) read(ctx context.Context, n targets.Node, in cgroups.Group, file string) (string, error) {
	limits, err := n.Exec(ctx, "read", in.Dir+"/limit")
	if err != nil {
		return "", err
	}
	free := string(limits) == g.has.Quota || string(limits) == g.has.Most
	felt := "1"
	if free || g.idle {
		felt = "0"
	}
	switch file {
	case "cpu.stat":
		return "nr_periods 5\nnr_throttled " + felt + "\n", nil
	case "memory.events":
		return "low 0\nhigh " + felt, nil
	case "memory.failcnt":
		return felt, nil
	case "memory.current", "memory.usage_in_bytes":
		if free || g.idle {
			return strconv.FormatUint(g.has.Used, 10), nil
		}
		return string(limits), nil
	}
	return string(limits), nil
}

func (g fakeGround) write(ctx context.Context, n targets.Node, in cgroups.Group, _, text string) error {
	_, err := n.Exec(ctx, "write", in.Dir+"/limit", text)
	return err
}

type fakeFlame struct{ n targets.Node }

func (fakeFlame) renew(time.Duration) error { return nil }
func (fakeFlame) end() error                { return nil } // douse does it, which has a context

func (g fakeGround) burn(ctx context.Context, n targets.Node, b burner, _ time.Duration) (flame, error) {
	_, err := n.Exec(ctx, "write", burnerFile, b.Name)
	return fakeFlame{n}, err
}

func (g fakeGround) burning(ctx context.Context, n targets.Node, b burner) (burned, error) {
	out, err := n.Exec(ctx, "read", burnerFile)
	if err != nil || string(out) != b.Name {
		return burned{}, err
	}
	if g.idle {
		return burned{There: true, Over: time.Second}, nil
	}
	return burned{There: true, Over: time.Second, Ran: time.Duration(b.Cores * float64(time.Second)), Memory: b.Memory}, nil
}

func (g fakeGround) douse(ctx context.Context, n targets.Node, b burner) error {
	out, err := n.Exec(ctx, "read", burnerFile)
	if err != nil || string(out) != b.Name {
		return err
	}
	_, err = n.Exec(ctx, "write", burnerFile, "")
	return err
}

func onFake(p Params, g fakeGround) injectors.Injector {
	x := newPresser(p)
	x.ground = g
	return injectors.Of(kind, x)
}

func fakeNode(g fakeGround) *faketarget.Node {
	n := faketarget.Patroni("pg1")
	for name, text := range map[string]string{"/fake/cpu/limit": g.has.Quota, "/fake/memory/limit": g.has.Most, burnerFile: ""} {
		if _, err := n.Exec(context.Background(), "write", name, text); err != nil {
			panic(err)
		}
	}
	return n
}

func TestPressureKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"cpu": "90%"}`, `{"cpu": "1.5"}`, `{"memory": "80%"}`, `{"memory": "512MiB"}`, `{"cpu": "50%", "memory": "80%"}`,
		`{"cpu": "90%", "by": "burner"}`, `{"memory": "50%", "by": "burner"}`, `{"cpu": "2", "memory": "256MiB", "by": "burner"}`,
	} {
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s v2=%v", with, v2), func(t *testing.T) {
				t.Parallel()
				p, err := made(with)
				if err != nil {
					t.Fatal(err)
				}
				injectortest.Case{
					New:    func() injectors.Injector { return onFake(p, fake(v2)) },
					Reopen: func() injectors.Injector { return onFake(Params{}, fake(v2)) },
					Node:   func() *faketarget.Node { return fakeNode(fake(v2)) },
				}.Run(t)
			})
		}
	}
}

func planned(t *testing.T, with string, g fakeGround) (state, error) {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := onFake(p, g).Plan(t.Context(), injectors.Aim{On: []targets.Node{fakeNode(g)}})
	if err != nil {
		return state{}, err
	}
	var s state
	err = json.Unmarshal(faults[0].State, &s)
	return s, err
}

func TestALimitIsWhatIsLeft(t *testing.T) {
	for with, want := range map[string]string{
		`{"cpu": "90%"}`:    "cpu.cfs_quota_us=20000", // of two
		`{"cpu": "1.5"}`:    "cpu.cfs_quota_us=50000",
		`{"memory": "80%"}`: "memory.limit_in_bytes=214745088", // 20 % of 1 GiB, whole pages
	} {
		s, err := planned(t, with, fake(false))
		if err != nil || len(s.Limits) != 1 || s.Limits[0].File+"="+s.Limits[0].Now != want {
			t.Errorf("%s: %+v, %v; want %s", with, s.Limits, err, want)
		}
	}
	if s, err := planned(t, `{"cpu": "90%"}`, fake(true)); err != nil || s.Limits[0].Now != "20000 100000" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestPressureThatWouldKillOrNotBeFeltIsRefused(t *testing.T) {
	with := func(change func(*room)) fakeGround {
		g := fake(false)
		change(&g.has)
		return g
	}
	for _, c := range []struct {
		with string
		g    fakeGround
		says string
	}{
		{`{"cpu": "99.9%"}`, fake(false), "less than the kernel can give"},
		{`{"cpu": "2"}`, fake(false), "less than the kernel can give"},
		{`{"cpu": "90%"}`, with(func(r *room) { r.Burst = 50_000 }), "burst of 50000"},
		{`{"memory": "1GiB"}`, fake(false), "all of the 1.0 GiB"},
		{`{"memory": "95%"}`, fake(false), "another fault (kill)"},
		{`{"memory": "10%"}`, fake(false), "would not notice; take at least 21.88%"},
		{`{"cpu": "3", "by": "burner"}`, fake(false), "more than the 2.00 processors"},
		{`{"memory": "100%", "by": "burner"}`, fake(false), "take less than 942 MiB"},
		{`{"memory": "50%", "by": "burner"}`, with(func(r *room) { r.Unused = 1 << 30 }), "the host can spare 1.0 GiB"},
	} {
		if s, err := planned(t, c.with, c.g); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "node pg1") {
			t.Errorf("%s: %+v, %v; want %q", c.with, s, err, c.says)
		}
	}
}

// A limit that is not run into, and a burner that gets nothing and holds nothing,
// are no faults.
func TestPressureThatIsNotFeltIsNotProven(t *testing.T) {
	for _, with := range []string{`{"cpu": "90%"}`, `{"memory": "80%"}`, `{"cpu": "1", "by": "burner"}`, `{"memory": "64MiB", "by": "burner"}`} {
		p, err := made(with)
		if err != nil {
			t.Fatal(err)
		}
		g := fake(false)
		g.idle = true
		inj, n := onFake(p, g), fakeNode(g)
		faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
		if err != nil {
			t.Fatal(err)
		}
		if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
			t.Fatal(err)
		}
		if held, proof, err := inj.Effect(t.Context(), n, faults[0]); held || proof == "" || err != nil {
			t.Errorf("%s: %v, %q, %v", with, held, proof, err)
		}
	}
}

func TestParametersThatCannotBeAreRefused(t *testing.T) {
	for with, says := range map[string]string{
		`{}`:                              "nothing is pressed",
		`{"cpu": "101%"}`:                 "at most 100%",
		`{"cpu": "0%"}`:                   "above 0%",
		`{"cpu": "-1"}`:                   "no number of processors",
		`{"cpu": "NaN"}`:                  "no number of processors",
		`{"cpu": "1GiB"}`:                 "no number of processors",
		`{"cpu": "100%"}`:                 "leaves nothing",
		`{"memory": "100%"}`:              "leaves nothing",
		`{"memory": "-1MiB"}`:             "no size",
		`{"memory": "0"}`:                 "no size",
		`{"memory": "1 parsec"}`:          "no size",
		`{"cpu": "50%", "by": "candles"}`: "use limit",
	} {
		if p, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want %q", with, p, err, says)
		}
	}
}

func FuzzAmounts(f *testing.F) {
	for _, s := range []string{"90%", "1.5", "512MiB", "1e300%", "-1", "0x1p4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c Cores
		if c.UnmarshalText([]byte(text)) == nil && !(c.of(4) > 0) {
			t.Errorf("%q of 4 processors is %v", text, c.of(4))
		}
		var b Bytes
		if b.UnmarshalText([]byte(text)) == nil && !(b.of(1<<30) > 0) {
			t.Errorf("%q of 1 GiB is %v", text, b.of(1<<30))
		}
	})
}
