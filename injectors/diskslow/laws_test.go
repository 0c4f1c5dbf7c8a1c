package diskslow

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/internal/volumes"
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

// fakeDisk is files of a fake node, so that it can be cut off and hang. It has
// cgroup v2's own format in one file per limit.
type fakeDisk struct {
	v2   bool
	fast bool // the limit does not bite
}

func (d fakeDisk) find(_ context.Context, n targets.Node, _ string) (cgroups.Group, volumes.Disk, error) {
	_, err := procs.Of(n)
	return cgroups.Group{Dir: "/fake", Inode: 7, V2: d.v2}, volumes.Disk{Number: "8:0", Name: "sda"}, err
}

func (d fakeDisk) get(ctx context.Context, n targets.Node, s state, l limit) (uint64, error) {
	out, err := n.Exec(ctx, "read", string(l))
	if err != nil {
		return 0, err
	}
	return reading(s, l, "7:7 rbps=1\n"+string(out))
}

func (d fakeDisk) set(ctx context.Context, n targets.Node, s state, l limit, to uint64) error {
	_, text := setting(s, l, to)
	_, err := n.Exec(ctx, "write", string(l), text)
	return err
}

func (d fakeDisk) try(ctx context.Context, n targets.Node, s state, c change) (in, out, least time.Duration, err error) {
	now, err := d.get(ctx, n, s, c.Limit)
	if now == 0 || d.fast {
		return time.Millisecond, time.Millisecond, 100 * time.Millisecond, err
	}
	return 200 * time.Millisecond, time.Millisecond, 100 * time.Millisecond, err
}

func onFake(p Params, d fakeDisk) injectors.Injector {
	x := newSlower(p)
	x.disk = d
	return injectors.Of(kind, x)
}

// fakeNode has limits of its operator's: before is that of write.
func fakeNode(d fakeDisk, before uint64) *faketarget.Node {
	n := faketarget.Patroni("pg1")
	s := state{Group: cgroups.Group{V2: d.v2}, Disk: volumes.Disk{Number: "8:0"}}
	for _, l := range []limit{readBytes, writeBytes, readOps, writeOps} {
		to := uint64(0)
		if l == writeBytes {
			to = before
		}
		if err := d.set(context.Background(), n, s, l, to); err != nil {
			panic(err)
		}
	}
	return n
}

func TestDiskslowKeepsTheLawsInEveryVariant(t *testing.T) {
	for _, with := range []string{
		`{"path": "/data", "write": "1MiB/s"}`,
		`{"path": "/data", "read": "64KiB", "write": "500 kB/s"}`,
		`{"path": "/data", "read_ops": 5, "write_ops": 10}`,
		`{"path": "/data", "read": "1MB", "write": "1MB", "read_ops": 5, "write_ops": 10}`,
	} {
		for _, d := range []fakeDisk{{}, {v2: true}} {
			for _, before := range []uint64{0, 100 << 20} {
				t.Run(fmt.Sprintf("%s v2=%v before=%d", with, d.v2, before), func(t *testing.T) {
					t.Parallel()
					p, err := made(with)
					if err != nil {
						t.Fatal(err)
					}
					injectortest.Case{
						New:    func() injectors.Injector { return onFake(p, d) },
						Reopen: func() injectors.Injector { return onFake(Params{}, d) },
						Node:   func() *faketarget.Node { return fakeNode(d, before) },
					}.Run(t)
				})
			}
		}
	}
}

func planned(t *testing.T, with string, d fakeDisk, n targets.Node) (injectors.Injector, injectors.Fault, error) {
	t.Helper()
	p, err := made(with)
	if err != nil {
		t.Fatal(err)
	}
	inj := onFake(p, d)
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		return nil, injectors.Fault{}, err
	}
	return inj, faults[0], nil
}

func TestALimitThatIsTighterAlreadyIsRefused(t *testing.T) {
	n := fakeNode(fakeDisk{}, 1000)
	if _, f, err := planned(t, `{"path": "/d", "write": "4096"}`, fakeDisk{}, n); err == nil || !strings.Contains(err.Error(), "limited already: write 1000 B/s") {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestALimitThatDoesNotBiteIsNotProven(t *testing.T) {
	n := fakeNode(fakeDisk{}, 0)
	inj, f, err := planned(t, `{"path": "/d", "write": "1MiB"}`, fakeDisk{fast: true}, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil || !strings.Contains(proof, "from outside") {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
}

func TestWhatTheOperatorSetsMeanwhileIsAHoleAndStays(t *testing.T) {
	n, d := fakeNode(fakeDisk{}, 0), fakeDisk{}
	inj, f, err := planned(t, `{"path": "/d", "write": "1MiB"}`, d, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, f); !held || err != nil {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	var s state
	if err := json.Unmarshal(f.State, &s); err != nil {
		t.Fatal(err)
	}
	if err := d.set(t.Context(), n, s, writeBytes, 5<<20); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, f); held || err != nil || !strings.Contains(proof, "5.0 MiB/s") {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if now, err := d.get(t.Context(), n, s, writeBytes); now != 5<<20 || err != nil {
		t.Errorf("it is %d, %v", now, err)
	}
}

func TestParametersThatCannotBeAreRefused(t *testing.T) {
	for with, says := range map[string]string{
		`{"write": "1MiB"}`:                        "path is missing",
		`{"path": "data", "write": "1MiB"}`:        "absolute",
		`{"path": "/d"}`:                           "nothing is slow",
		`{"path": "/d", "write": "0"}`:             "the least is 4.0 KiB/s",
		`{"path": "/d", "read": "1kB/s"}`:          "the least is 4.0 KiB/s",
		`{"path": "/d", "read": "-1MB"}`:           "cannot be negative",
		`{"path": "/d", "read": "5%"}`:             "no rate",
		`{"path": "/d", "read": ""}`:               "no rate",
		`{"path": "/d", "write_ops": 99999999999}`: "the most is 4294967295",
	} {
		if p, err := made(with); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want %q", with, p, err, says)
		}
	}
}

func TestAnyOneLimitIsReadAmongOthers(t *testing.T) {
	v1 := state{Disk: volumes.Disk{Number: "8:0"}}
	v2 := state{Disk: volumes.Disk{Number: "8:0"}, Group: cgroups.Group{V2: true}}
	for _, c := range []struct {
		s       state
		l       limit
		content string
		want    uint64
	}{
		{v1, writeBytes, "8:16 5\n8:0 7\n", 7},
		{v1, writeBytes, "8:16 5\n", 0},
		{v1, writeBytes, "", 0},
		{v2, writeOps, "8:16 wiops=5\n8:0 rbps=max wbps=1 riops=2 wiops=3\n", 3},
		{v2, readBytes, "8:0 rbps=max wbps=1 riops=2 wiops=3\n", 0},
	} {
		if got, err := reading(c.s, c.l, c.content); got != c.want || err != nil {
			t.Errorf("%q: %d, %v; want %d", c.content, got, err, c.want)
		}
	}
	if n, err := reading(v1, writeBytes, "8:0 soon\n"); err == nil {
		t.Error("read as", n)
	}
}

// However slow or fast a limit is, trying it is bounded, and can be told from a
// disk that is not limited.
func TestTryingALimitIsBounded(t *testing.T) {
	for _, l := range []limit{readBytes, writeBytes, readOps, writeOps} {
		for now := uint64(1); now < 1<<32; now = now*3 + 1 {
			if !l.ops() && now < slowest {
				continue
			}
			got, least := trial(change{Limit: l, Now: now})
			whole := time.Duration(float64(got.Times*got.Size) / float64(now) * float64(time.Second))
			if l.ops() {
				whole = time.Duration(float64(got.Times) / float64(now) * float64(time.Second))
			}
			if got.Times < 1 || got.Size%page != 0 || got.Times*got.Size > most || whole > 2*time.Second || least <= 0 || least > whole {
				t.Errorf("%s %d: %+v takes %v, at least %v", l, now, got, whole, least)
			}
		}
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"1MiB/s", "500 kB", "0", "-1", "1/s", "/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r, again Rate
		if r.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
			t.Errorf("%q is read as %+v, and that as %+v, %v", text, r, again, err)
		}
	})
}
