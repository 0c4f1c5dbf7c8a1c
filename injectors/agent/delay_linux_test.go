package agent_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/kernel"
)

// laggard carries stdio to and from an agent as a long way would, each line as late
// as is said: there and back need not take the same time.
func laggard(ctx context.Context, argv []string, there, back time.Duration) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		late(in, os.Stdin, there)
		_ = in.Close() // the agent's end says the rest
	}()
	late(os.Stdout, out, back)
	return cmd.Wait()
}

func laggardMain(ctx context.Context, args []string) error {
	there, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	back, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return laggard(ctx, args[2:], there, back)
}

// late passes lines on, all by the same time later.
func late(to io.Writer, from io.Reader, by time.Duration) {
	type line struct {
		text []byte
		at   time.Time
	}
	lines := make(chan line, 1000)
	go func() {
		defer close(lines)
		for r := bufio.NewReader(from); ; {
			text, err := r.ReadBytes('\n')
			lines <- line{text, time.Now().Add(by)}
			if err != nil {
				return
			}
		}
	}()
	for l := range lines {
		<-time.After(time.Until(l.at))
		if _, err := to.Write(l.text); err != nil {
			return
		}
	}
}

// The way to an agent elsewhere takes 120 ms there and 5 ms back. The instants that
// it tells are placed on our clock as widely as that is long, and hold the truth,
// which a straight look at the process knows: it is on this machine, after all.
func TestWhatAnAgentBehindALongWayTellsHoldsTheTruth(t *testing.T) {
	const there, back = 120 * time.Millisecond, 5 * time.Millisecond
	o := options(t.TempDir(), long)
	o.Argv = []string{o.Argv[0], "laggard", there.String(), back.String(), o.Argv[0], "agent"}
	o.Elsewhere, o.RevertAll = true, func(context.Context, agent.RevertOptions) (agent.Report, error) { return agent.Report{}, nil }
	o.Env = []string{"DAPPLE_HOME=" + o.Home}
	c, err := agent.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	n := node(t)
	h, err := kernel.Hold(t.Context(), main1(t, n))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }() // a descriptor of a dead process
	died := make(chan time.Time, 1)
	f := planned(t, n, `{}`)
	begin := time.Now()
	go func() {
		if h.Exited(t.Context()) == nil {
			died <- time.Now()
		}
	}()
	held := inject(t, c, "k", n, f)
	truth := <-died // at most so late, and surely not before the request was there
	t.Logf("asked %v, died %v, told %v to %v, clock ±%v", begin.Format("05.000"), truth.Sub(begin), held.Effect.Lo.Sub(begin), held.Effect.Hi.Sub(begin), c.Epsilon())
	if held.Effect.Lo.After(truth) || held.Effect.Hi.Before(begin.Add(there)) {
		t.Errorf("it died between %v and %v after the request, and was told to have between %v and %v", there, truth.Sub(begin), held.Effect.Lo.Sub(begin), held.Effect.Hi.Sub(begin))
	}
	// Nobody can know better than half of the way there and back where the truth is.
	if eps := c.Epsilon(); eps < (there+back)/2 {
		t.Errorf("the clock is known to ±%v, over a way of %v", eps, there+back)
	}
	if width := held.Effect.Hi.Sub(held.Effect.Lo); width < there+back {
		t.Errorf("the interval is %v wide, the way %v long", width, there+back)
	}
}
