package readonly

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// fakeMounts is a file of a fake node, so that it can be cut off and hang.
type fakeMounts struct {
	obstacle string
	was      bool // it is read-only without us
	bites    bool
}

const file = "view"

func (m fakeMounts) look(ctx context.Context, n targets.Node, path string) (seen, error) {
	if _, err := procs.Of(n); err != nil {
		return seen{}, err
	}
	there, err := m.covered(ctx, n, state{})
	return seen{state: state{Path: path, Space: "mnt:[1]", Point: path}, Refused: m.was || there && m.bites, Words: "tried", Obstacle: m.obstacle}, err
}

func (m fakeMounts) covered(ctx context.Context, n targets.Node, _ state) (bool, error) {
	out, err := n.Exec(ctx, "read", file)
	return string(out) == "there", err
}

func (m fakeMounts) cover(ctx context.Context, n targets.Node, _ state) error {
	_, err := n.Exec(ctx, "write", file, "there")
	return err
}

func (m fakeMounts) uncover(ctx context.Context, n targets.Node, _ state) error {
	_, err := n.Exec(ctx, "write", file, "")
	return err
}

func onFake(m fakeMounts) injectors.Injector {
	return injectors.Of(kind, &coverer{Params{Path: "/data"}, m})
}

func fakeNode() *faketarget.Node {
	n := faketarget.Patroni("pg1")
	if _, err := n.Exec(context.Background(), "write", file, ""); err != nil {
		panic(err)
	}
	return n
}

func TestReadonlyKeepsTheLaws(t *testing.T) {
	inj := func() injectors.Injector { return onFake(fakeMounts{bites: true}) }
	injectortest.Case{New: inj, Reopen: inj, Node: fakeNode}.Run(t)
}

func TestWhatIsReadOnlyAlreadyOrCannotBeCoveredIsRefused(t *testing.T) {
	for says, m := range map[string]fakeMounts{"read-only already": {was: true}, "the host's as well": {obstacle: "the host's as well"}} {
		if f, err := onFake(m).Plan(t.Context(), injectors.Aim{On: []targets.Node{fakeNode()}}); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "node pg1") {
			t.Errorf("%+v, %v; want %q", f, err, says)
		}
	}
}

func TestAViewThroughWhichCanBeWrittenIsNotProven(t *testing.T) {
	inj, n := onFake(fakeMounts{}), fakeNode()
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Inject(t.Context(), n, faults[0]); err != nil {
		t.Fatal(err)
	}
	if held, proof, err := inj.Effect(t.Context(), n, faults[0]); held || err != nil {
		t.Errorf("%v, %q, %v", held, proof, err)
	}
}

func TestParametersThatCannotBeAreRefused(t *testing.T) {
	for with, says := range map[string]string{`{}`: "path is missing", `{"path": "data"}`: "absolute", `{"path": "/"}`: "root of a running node", `{"path": "/a/.."}`: "root of a running node"} {
		var p Params
		if err := json.Unmarshal([]byte(with), &p); err != nil {
			t.Fatal(err)
		}
		if err := p.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want %q", with, err, says)
		}
	}
}
