package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

// A talk is a conversation with an agent that runs in the test itself.
type talk struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *json.Decoder
	done chan error
	id   int64
}

func speak(t *testing.T, home string, lease time.Duration, nodes ...*faketarget.Node) *talk {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	k := &talk{t: t, in: inW, out: json.NewDecoder(outR), done: make(chan error, 1)}
	cfg := Config{Kinds: []injectors.Kind{kill.Kind()}, Openers: []targets.Opener{faketarget.Opener(nodes...)}, Version: "v1"}
	go func() {
		k.done <- Serve(t.Context(), inR, outW, cfg)
		_ = outW.Close()
	}()
	t.Cleanup(func() { _ = inW.Close() }) // its end is what most tests wait for
	w := k.ask(request{Op: opHello, Hello: &hello{Protocol: protocol, Version: "v1", Drill: "d", System: "s", Home: home, Lease: lease}})
	if w.err() != nil || w.Welcome == nil {
		t.Fatalf("%+v", w)
	}
	return k
}

// ask sends r and returns its reply; sightings are dropped.
func (k *talk) ask(r request) reply {
	k.t.Helper()
	k.id++
	r.ID = k.id
	if err := json.NewEncoder(k.in).Encode(r); err != nil {
		k.t.Fatal(err)
	}
	for {
		var a reply
		if err := k.out.Decode(&a); err != nil {
			k.t.Fatal(err)
		}
		if a.ID == r.ID {
			return a
		}
	}
}

// end waits for the agent to end by itself.
func (k *talk) end() error {
	k.t.Helper()
	go func() { _, _ = io.Copy(io.Discard, io.MultiReader(k.out.Buffered(), discard{k.out})) }()
	select {
	case err := <-k.done:
		return err
	case <-time.After(30 * time.Second):
		k.t.Fatal("the agent did not end")
		return nil
	}
}

// discard reads what a decoder would.
type discard struct{ dec *json.Decoder }

func (d discard) Read([]byte) (int, error) {
	var a reply
	return 0, d.dec.Decode(&a)
}

func stop(t *testing.T, n *faketarget.Node, with string) injectors.Fault {
	t.Helper()
	inj, err := kill.Kind().New(func(into any) error { return json.Unmarshal([]byte(with), into) })
	if err != nil {
		t.Fatal(err)
	}
	faults, err := inj.Plan(t.Context(), injectors.Aim{On: []targets.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	return faults[0]
}

func (k *talk) inject(key string, n *faketarget.Node, f injectors.Fault) reply {
	spec := n.Spec()
	return k.ask(request{Op: opInject, Key: key, Node: &spec, Fault: &f})
}

func TestTheEndOfTheLeaseEndsAllFaultsAndTheAgent(t *testing.T) {
	home, a, b := t.TempDir(), faketarget.Patroni("a"), faketarget.Patroni("b")
	before := a.Snapshot()
	k := speak(t, home, 300*time.Millisecond, a, b)
	for _, r := range []reply{k.inject("1", a, stop(t, a, `{"signal":"STOP"}`)), k.inject("2", b, stop(t, b, `{}`))} {
		if r.err() != nil || !r.Held.OK {
			t.Fatalf("%+v", r)
		}
	}
	if err := k.end(); err != nil {
		t.Error(err)
	}
	if s := a.Snapshot(); len(s.Procs) != len(before.Procs) || s.Procs[0] != before.Procs[0] || !b.Snapshot().Running {
		t.Errorf("%+v, %+v", s, b.Snapshot())
	}
	if left, err := Outstanding(home); err != nil || len(left) > 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestALineThatIsNoRequestEndsAllFaultsAndTheAgent(t *testing.T) {
	n := faketarget.Patroni("a")
	k := speak(t, t.TempDir(), time.Hour, n)
	if r := k.inject("1", n, stop(t, n, `{}`)); r.err() != nil {
		t.Fatal(r.err())
	}
	if _, err := io.WriteString(k.in, "what?\n"); err != nil {
		t.Fatal(err)
	}
	if err := k.end(); err != nil || !n.Snapshot().Running {
		t.Errorf("%+v, %v", n.Snapshot(), err)
	}
}

func TestAFaultThatCannotBeTakenBackStaysOnRecordAndIsSaid(t *testing.T) {
	home, n := t.TempDir(), faketarget.Patroni("a")
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	k := &talk{t: t, in: inW, out: json.NewDecoder(outR), done: make(chan error, 1)}
	cfg := Config{Kinds: []injectors.Kind{kill.Kind()}, Openers: []targets.Opener{faketarget.Opener(n)}, Version: "v1", Deadline: 200 * time.Millisecond}
	go func() { k.done <- Serve(t.Context(), inR, outW, cfg); _ = outW.Close() }()
	if w := k.ask(request{Op: opHello, Hello: &hello{Protocol: protocol, Version: "v1", Drill: "d", Home: home, Lease: time.Hour}}); w.err() != nil {
		t.Fatal(w.err())
	}
	if r := k.inject("1", n, stop(t, n, `{}`)); r.err() != nil {
		t.Fatal(r.err())
	}
	n.CutAfter(0)
	if r := k.ask(request{Op: opRevert, Key: "1"}); r.err() == nil || !strings.Contains(r.Err, faketarget.ErrCut.Error()) {
		t.Errorf("%+v", r)
	}
	if r := k.ask(request{Op: opClose}); r.err() == nil {
		t.Error("close says that all is well")
	}
	if err := k.end(); err == nil {
		t.Error("so does the agent's exit")
	}
	if left, err := Outstanding(home); err != nil || len(left) != 1 {
		t.Fatalf("%+v, %v", left, err)
	}
	n.Reconnect()
	cfg.Home = home
	rep, err := RevertAll(t.Context(), RevertOptions{Config: cfg})
	if err != nil || rep.Err() != nil || !n.Snapshot().Running {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestRequestsThatMakeNoSenseAreAnsweredAndHarmless(t *testing.T) {
	n := faketarget.Patroni("a")
	k := speak(t, t.TempDir(), time.Hour, n)
	f := stop(t, n, `{}`)
	spec, alien := n.Spec(), targets.Spec{Kind: "moon", Name: "a"}
	strange := f
	strange.Kind = "frobnicate"
	for _, c := range []struct {
		r    request
		says string
	}{
		{request{Op: "dance"}, `no operation is called "dance"`},
		{request{Op: opInject}, "needs a key"},
		{request{Op: opInject, Key: "1", Node: &alien, Fault: &f}, "moon"},
		{request{Op: opInject, Key: "1", Node: &spec, Fault: &strange}, "frobnicate"},
	} {
		if a := k.ask(c.r); a.err() == nil || !strings.Contains(a.Err, c.says) {
			t.Errorf("%+v: %q, want %q", c.r, a.Err, c.says)
		}
	}
	if a := k.ask(request{Op: opRevert, Key: "never"}); a.err() != nil {
		t.Error(a.err())
	}
	if a := k.inject("1", n, f); a.err() != nil {
		t.Error(a.err())
	}
	if a := k.inject("1", n, f); a.err() == nil {
		t.Error("one key was injected twice")
	}
	if a := k.ask(request{Op: opClose}); a.err() != nil || !n.Snapshot().Running {
		t.Errorf("%+v", a)
	}
}

func TestAnErrorKeepsWhatCallersBranchOnAcrossThePipe(t *testing.T) {
	var r reply
	r.fail(errors.Join(targets.ErrGone, errors.New("x")))
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got reply
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if err := got.err(); !errors.Is(err, targets.ErrGone) || errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestAReaderThatHangsNeverMakesTheWriterWait(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	x := newWire(w)
	var err error
	for range 2 * backlog {
		if err = x.send(reply{}); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("nobody reads, and nobody says so")
	}
	x.flush(time.Millisecond)
}

// Whatever comes in, an agent must end: it must not hold faults for a runner that
// it does not understand.
func FuzzServe(f *testing.F) {
	hi := `{"id":1,"op":"hello","hello":{"protocol":1,"version":"v1","drill":"d","lease_ns":1000000000}}`
	f.Add([]byte(hi + "\n" + `{"id":2,"op":"revert","key":"x"}` + "\n" + `{"id":3,"op":"close"}`))
	f.Add([]byte(hi + "{}"))
	f.Add([]byte("[]"))
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var out bytes.Buffer
		_ = Serve(ctx, bytes.NewReader(data), &out, Config{Version: "v1", Home: home, Deadline: time.Second})
		if ctx.Err() != nil {
			t.Error("it did not end")
		}
	})
}
