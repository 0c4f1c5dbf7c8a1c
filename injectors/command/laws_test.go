package command

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/injectortest"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// switchboard is a place whose commands work on the files of a fake node: "on"
// and "off" switch a relay, "look" says how it stands. Like any command that may
// stand under revert, "off" does nothing where nothing is to be done.
type switchboard struct{}

func (switchboard) program(name string) (string, error) { return "/sbin/" + name, nil }

func (switchboard) sweep(context.Context, targets.Node, state) error { return nil }

func (switchboard) run(ctx context.Context, n targets.Node, s state, verb string, argv []string, _ time.Duration) (result, error) {
	if want := map[string][]string{verbInject: s.Inject, verbRevert: s.Revert, verbCheck: s.Check}[verb]; strings.Join(want, " ") != strings.Join(argv, " ") {
		return result{}, fmt.Errorf("%s runs %q", verb, argv)
	}
	switch path.Base(argv[0]) {
	case "on":
		_, err := n.Exec(ctx, "write", "relay", "on")
		return result{out: "switched"}, err
	case "off":
		there, err := look(ctx, n)
		if err == nil && there {
			_, err = n.Exec(ctx, "remove", "relay")
		}
		return result{}, err
	case "look":
		there, err := look(ctx, n)
		if !there {
			return result{exit: s.Absent, out: "it is off"}, err
		}
		return result{out: "it is on"}, err
	}
	return result{}, fmt.Errorf("%q is no such command", argv)
}

func look(ctx context.Context, n targets.Node) (there bool, err error) {
	_, err = n.Exec(ctx, "read", "relay")
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, faketarget.ErrCut), ctx.Err() != nil:
		return false, err
	}
	return false, nil
}

func params() Params {
	p := defaults()
	p.Inject, p.Revert, p.Check, p.Every = []string{"on", "{node}"}, []string{"off", "{node}"}, []string{"look"}, 0
	return p
}

func TestCommandsKeepTheLaws(t *testing.T) {
	for name, absent := range map[string]int{"by default": 1, "with an exit code of its own": 42} {
		t.Run(name, func(t *testing.T) {
			p := params()
			p.Absent = absent
			made := func(p Params) injectors.Injector {
				return injectors.Of(kind, &commander{p: p, place: switchboard{}})
			}
			injectortest.Case{
				New:    func() injectors.Injector { return made(p) },
				Reopen: func() injectors.Injector { return made(Params{}) },
				Node:   func() *faketarget.Node { return faketarget.Patroni("pg1") },
			}.Run(t)
		})
	}
}

func TestWithoutLeaveNothingIsRunNotEvenTheCheck(t *testing.T) {
	n := faketarget.Patroni("pg1")
	x := injectors.Of(kind, &commander{p: params(), place: switchboard{}})
	faults, err := x.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if !errors.Is(err, errNotAllowed) || n.Ops() != 0 {
		t.Errorf("%v, %v, after %d operations", faults, err, n.Ops())
	}
}

func TestAnEffectThatIsThereBeforeTheFaultIsRefused(t *testing.T) {
	n := faketarget.Patroni("pg1")
	if _, err := n.Exec(t.Context(), "write", "relay", "on"); err != nil {
		t.Fatal(err)
	}
	x := injectors.Of(kind, &commander{p: params(), place: switchboard{}})
	if faults, err := x.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}, Commands: true}); err == nil || !strings.Contains(err.Error(), "before anything was made") {
		t.Errorf("%v, %v", faults, err)
	}
}
