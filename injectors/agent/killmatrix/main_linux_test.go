// Package killmatrix kills whoever makes, holds and ends a fault, at an instant by
// chance from before Plan to after Revert, for every fault of the catalogue, and
// looks independently for how long the fault outlived it.
//
// It has tests only. In full: make kill-matrix.
package killmatrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/netns"
)

// lease is that of the matrix (safety, "Tested by").
const lease = 500 * time.Millisecond

const version = "v0.0.0-matrix"

func config(home string) agent.Config {
	return agent.Config{Kinds: all.Kinds(), Openers: []targets.Opener{netns.Opener()}, Version: version, Home: home}
}

// TestMain lets the test's own binary stand in for dapple: as an agent, and as a
// runner.
func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	var err error
	switch ctx := context.Background(); mode {
	case "agent":
		err = agent.Serve(ctx, os.Stdin, os.Stdout, config(""))
	case inside.Mode:
		err = inside.Main(ctx, os.Stdin, os.Stdout)
	case "victim":
		err = tell(os.Args[2], os.Args[3] == "busy")
	case "runner":
		err = run(ctx, os.Stdin, os.Stdout)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// tell writes down over and over what time this process believes that it is. One
// that is busy works for a third of the time.
func tell(file string, busy bool) error {
	for range time.Tick(10 * time.Millisecond) {
		for begin := time.Now(); busy && time.Since(begin) < 3*time.Millisecond; {
		}
		// Replaced as a whole, so that nobody reads half of it. A full disk is the
		// business of another fault.
		if os.WriteFile(file+".new", []byte(strconv.FormatInt(time.Now().UnixNano(), 10)), 0o600) == nil {
			_ = os.Rename(file+".new", file)
		}
	}
	return nil
}

// An order is what a runner is to do: one fault, from before Plan to after Revert.
type order struct {
	Home, Drill, Kind, With string
	On, Peers               []targets.Spec
	// Await is a file that has to be there before the fault is taken back.
	Await string
	// Helper starts an agent in a helper container of the engine at Engine; none if
	// it is empty.
	Helper []string
	Engine string
}

// options are those of the agent that holds the faults.
func (o order) options(me string) agent.Options {
	a := agent.Options{Argv: []string{me, "agent"}, Lease: lease, Drill: o.Drill, System: "matrix", Config: config(o.Home)}
	if len(o.Helper) == 0 {
		return a
	}
	a.Argv, a.Env, a.Greeting = o.Helper, []string{"DOCKER_HOST=" + o.Engine}, time.Minute
	again := a
	again.Drill = "revert"
	// As cmd/dapple has it: who lacks the rights takes back by another helper.
	a.RevertAll = func(ctx context.Context, what agent.RevertOptions) (rep agent.Report, err error) {
		c, err := agent.Start(ctx, again)
		if err != nil {
			return rep, err
		}
		rep, err = c.RevertAll(ctx, what)
		return rep, errors.Join(err, c.Close(ctx))
	}
	return a
}

// The phases of a runner, in their order. Each is said when it begins.
var phases = []string{"start", "plan", "inject", "hold", "revert", "close", "done"}

// unable is said instead of a phase by a runner whose agent did not start.
const unable = "unable"

// A step is one line of the runner's.
type step struct {
	Phase string
	Agent targets.ProcID
}

// holding is how long a runner holds the fault before it takes it back.
const holding = 100 * time.Millisecond

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return err
	}
	var id targets.ProcID
	say := func(phase string) error { return json.NewEncoder(out).Encode(step{phase, id}) }
	me, err := os.Executable()
	if err != nil {
		return err
	}
	if err := say("start"); err != nil {
		return err
	}
	c, err := agent.Start(ctx, o.options(me))
	if err != nil {
		// A machine that is so busy that its lease is over before it has begun. There
		// is nothing to end.
		return errors.Join(err, say(unable))
	}
	id, _ = c.Agent()
	if err := say("plan"); err != nil {
		return err
	}
	faults, specs, err := o.plan(ctx)
	if err != nil {
		return errors.Join(err, c.Close(ctx))
	}
	// From here on an error may mean that the agent was killed, which is the test;
	// whether the fault ended is looked at from outside.
	for _, do := range []struct {
		phase string
		do    func(i int)
	}{
		{"inject", func(i int) {
			if h, err := c.Inject(ctx, fmt.Sprint(i), specs[i], faults[i]); err != nil || !h.OK {
				fmt.Fprintln(os.Stderr, h.Proof, err) // for who reads why a test failed
			}
		}},
		{"hold", func(int) {
			<-time.After(holding / time.Duration(len(faults)))
			for o.Await != "" && !exists(o.Await) {
				<-time.After(5 * time.Millisecond)
			}
		}},
		{"revert", func(i int) { _, _ = c.Revert(ctx, fmt.Sprint(i)) }},
	} {
		if err := say(do.phase); err != nil {
			return err
		}
		for i := range faults {
			do.do(i)
		}
	}
	if err := say("close"); err != nil {
		return err
	}
	closed := c.Close(ctx)
	if err := say("done"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in) // until the test has enough
	_ = closed                       // that of an agent that was killed is no news
	return err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (o order) plan(ctx context.Context) ([]injectors.Fault, []targets.Spec, error) {
	kinds := all.Kinds()
	k := kinds[slices.IndexFunc(kinds, func(k injectors.Kind) bool { return k.Name == o.Kind })]
	inj, err := k.New(func(into any) error { return json.Unmarshal([]byte(o.With), into) })
	if err != nil {
		return nil, nil, err
	}
	aim := injectors.Aim{Drill: o.Drill, Commands: true}
	byName := map[string]targets.Spec{}
	for _, list := range []struct {
		specs []targets.Spec
		into  *[]targets.Node
	}{{o.On, &aim.On}, {o.Peers, &aim.Peers}} {
		for _, s := range list.specs {
			n, err := netns.Opener().Open(ctx, s)
			if err != nil {
				return nil, nil, err
			}
			*list.into, byName[s.Name] = append(*list.into, n), s
		}
	}
	faults, err := inj.Plan(ctx, aim)
	var specs []targets.Spec
	for _, f := range faults {
		specs = append(specs, byName[f.Node])
	}
	return faults, specs, err
}
