package killmatrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A process is a runner.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	steps  chan step
	exited chan struct{}
	stderr bytes.Buffer
}

func drillOf(home string) string { return "m" + strings.NewReplacer("/", "_", " ", "_").Replace(home) }

func (m *matrix) start(t *testing.T, home, await string) *process {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(me, "runner"), steps: make(chan step, len(phases)), exited: make(chan struct{})}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, theirs, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	go func() {
		defer close(p.steps)
		defer out.Close()
		for dec := json.NewDecoder(out); ; {
			var s step
			if dec.Decode(&s) != nil {
				return
			}
			p.steps <- s
		}
	}()
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	o := order{Home: home, Drill: drillOf(home), Kind: m.kind, With: m.with, On: []targets.Spec{m.v.a.Spec()}, Peers: []targets.Spec{m.v.b.Spec()}, Await: await}
	if m.engine != nil {
		o.Helper, o.Engine = m.engine.helper(home), m.engine.host()
	}
	if err := json.NewEncoder(stdin).Encode(o); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) over() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *process) end() {
	_ = p.cmd.Process.Kill() // most have ended
	<-p.exited
}

// follow waits until the runner is in the phase, and notes how long those before it
// took. It says no if the runner could not even begin.
func (m *matrix) follow(t *testing.T, p *process, phase string) (id targets.ProcID, ok bool) {
	t.Helper()
	last, at := "", time.Now()
	for s := range p.steps {
		if last != "" {
			m.typical[last] = time.Since(at)
		}
		if last, at = s.Phase, time.Now(); s.Agent.PID != 0 {
			id = s.Agent
		}
		if s.Phase == phase || s.Phase == unable {
			return id, s.Phase == phase
		}
	}
	<-p.exited
	t.Fatalf("%s: the runner ended before phase %s: %s", m.kind, phase, &p.stderr)
	return id, false
}

func dead(id targets.ProcID) bool {
	dying, err := kernel.Dying(id)
	return errors.Is(err, targets.ErrGone) || err == nil && dying
}

func kill9(t *testing.T, id targets.ProcID) {
	t.Helper()
	h, err := kernel.Hold(t.Context(), id)
	if errors.Is(err, targets.ErrGone) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Signal(9); err != nil && !errors.Is(err, targets.ErrGone) {
		t.Fatal(err)
	}
	_ = h.Close()
}
