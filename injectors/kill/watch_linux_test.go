package kill

import (
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func encode(t *testing.T, s state) []byte {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// watched watches, and returns what was seen, and how to stop.
func watched(t *testing.T, inj injectors.Injector, n targets.Node, f injectors.Fault) (seen <-chan injectors.Sighting, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch, done := make(chan injectors.Sighting, 100), make(chan error, 1)
	go func() {
		done <- inj.(injectors.Watcher).Watch(ctx, n, f, func(s injectors.Sighting) { ch <- s })
		close(ch)
	}()
	return ch, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func next(t *testing.T, seen <-chan injectors.Sighting) injectors.Sighting {
	t.Helper()
	select {
	case s, ok := <-seen:
		if !ok {
			t.Fatal("nothing was seen")
		}
		if s.What != "restart" || s.Lo.After(s.Hi) || s.Evidence == "" {
			t.Errorf("%+v", s)
		}
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was seen within 30 s")
	}
	panic("unreachable")
}

func none(t *testing.T, seen <-chan injectors.Sighting) {
	t.Helper()
	for s := range seen {
		t.Errorf("seen without a cause: %+v", s)
	}
}

func TestARestartByTheEngineIsTold(t *testing.T) {
	n := faketarget.Patroni("pg1")
	n.Policy("always")
	inj := quick(Params{"KILL", procs.Main, Crash})
	f := planned(t, inj, n, parts)
	seen, stop := watched(t, inj, n, f)
	from := time.Now()
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	s := next(t, seen)
	if s.By != "engine" || s.Hi.Before(from) || !strings.Contains(s.Evidence, "restart count went from 0 to 1") {
		t.Errorf("%+v", s)
	}
	stop()
	none(t, seen)
}

func TestARestartByDappleIsToldAlsoIfItIsTheLastThing(t *testing.T) {
	n := faketarget.Patroni("pg1")
	inj := quick(Params{"KILL", procs.Main, Crash})
	f := planned(t, inj, n, parts)
	seen, stop := watched(t, inj, n, f)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	stop()
	if s := next(t, seen); s.By != "dapple" {
		t.Errorf("%+v", s)
	}
	none(t, seen)
}

func TestARestartBySomebodyElseThroughTheEngineIsNotOurs(t *testing.T) {
	n := faketarget.Patroni("pg1")
	inj := quick(Params{"KILL", procs.Main, Crash})
	f := planned(t, inj, n, parts)
	seen, stop := watched(t, inj, n, f)
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := next(t, seen); s.By != "engine" || !strings.Contains(s.Evidence, "somebody else") {
		t.Errorf("%+v", s)
	}
	stop()
	none(t, seen)
}

func TestNothingIsSeenWhereNothingRestarts(t *testing.T) {
	n := faketarget.Patroni("pg1")
	inj := quick(Params{"KILL", procs.Server, Crash})
	f := planned(t, inj, n, parts)
	seen, stop := watched(t, inj, n, f)
	if _, err := n.Exec(t.Context(), "write", "a", "b"); err != nil {
		t.Fatal(err)
	}
	stop()
	none(t, seen)
}

// A shell is the manager: it starts a real server again that a real signal killed.
func TestARestartByTheManagerIsToldOnRealProcesses(t *testing.T) {
	n := newChild(t, `while :; do sleep 600; done`)
	was := n.waitFor(t, 2)
	inj := ordinary(t, `{"process": "server"}`)
	f := planned(t, inj, n, map[string][]string{"server": {"sleep"}})
	seen, stop := watched(t, inj, n, f)
	for round := range 2 {
		from := time.Now()
		if round == 0 {
			if err := inj.Inject(t.Context(), n, f); err != nil {
				t.Fatal(err)
			}
		} else { // it is told again if it happens again
			if err := syscall.Kill(n.waitFor(t, 2)[1].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		s := next(t, seen)
		if s.By != "manager" || s.Hi.Before(from) || !strings.Contains(s.Evidence, "started by pid") || !strings.Contains(s.Evidence, was[0].Name) {
			t.Errorf("%+v", s)
		}
	}
	// Its node ran all the time: there is nothing to start.
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	stop()
	none(t, seen)
	if st, err := n.State(t.Context()); err != nil || st.Main != was[0].ProcID {
		t.Errorf("%+v, %v", st, err)
	}
}

// The main process ends because its server was killed: then it is for us to start
// the node.
func TestANodeThatDiesWithItsServerIsStarted(t *testing.T) {
	n := newChild(t, `sleep 600; exit 1`)
	was := n.waitFor(t, 2)
	inj := ordinary(t, `{"process": "server"}`)
	f := planned(t, inj, n, map[string][]string{"server": {"sleep"}})
	if err := inj.Inject(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	if err := inj.Revert(t.Context(), n, f); err != nil {
		t.Fatal(err)
	}
	now, err := n.State(t.Context())
	if err != nil || !now.Running || now.Main == was[0].ProcID {
		t.Errorf("%+v, %v", now, err)
	}
}
