package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// An order is what a worker is to run: one line on its stdin, whose end ends it.
type order struct {
	Seed    uint64   `json:"seed"`
	Control string   `json:"control,omitempty"`
	Agent   []string `json:"agent"`
	Dir     string   `json:"dir"`
	Keep    bool     `json:"keep,omitempty"`
}

// A notice is one line on a worker's stdout: that it is to be stopped, or what
// came of the run.
type notice struct {
	Stop   time.Duration `json:"stop_ns,omitempty"`
	Result *Result       `json:"result,omitempty"`
	Err    string        `json:"err,omitempty"`
}

// WorkerMain does one run in a process of its own, which whoever started it stops
// for a while when it asks for it.
func WorkerMain(ctx context.Context, in io.Reader, out io.Writer) error {
	var o order
	dec := json.NewDecoder(in)
	if err := dec.Decode(&o); err != nil {
		return fmt.Errorf("read what to run: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is the end of who started us
		cancel()
	}()
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	say := func(n notice) error {
		mu.Lock()
		defer mu.Unlock()
		return enc.Encode(n)
	}
	to := Options{Agent: o.Agent, Dir: o.Dir, Keep: o.Keep}
	r, err := to.run(ctx, job{o.Seed, o.Control}, func(d time.Duration) { _ = say(notice{Stop: d}) })
	if err != nil {
		return say(notice{Err: err.Error()})
	}
	return say(notice{Result: &r})
}

// apart does a job in a process of its own.
func (o Options) apart(ctx context.Context, j job) (r Result, err error) {
	if len(o.Worker) == 0 || !canStop {
		return Result{Why: "no process can be held up here"}, nil
	}
	cmd := exec.CommandContext(ctx, o.Worker[0], o.Worker[1:]...)
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return r, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("start a worker: %w", err)
	}
	err = json.NewEncoder(stdin).Encode(order{j.seed, j.control, o.Agent, o.Dir, o.Keep})
	if err == nil {
		r, err = heed(ctx, cmd, stdout)
	}
	return r, errors.Join(err, stdin.Close(), ignoreExit(cmd.Wait()))
}

// ignoreExit: how a worker ended says less than what it said.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// heed does what the worker asks for until it has come to its end.
func heed(ctx context.Context, cmd *exec.Cmd, stdout io.Reader) (Result, error) {
	dec := json.NewDecoder(stdout)
	for {
		var n notice
		switch err := dec.Decode(&n); {
		case err != nil:
			return Result{}, fmt.Errorf("listen to a worker: %w", err)
		case n.Err != "":
			return Result{}, errors.New(n.Err)
		case n.Result != nil:
			return *n.Result, nil
		}
		if err := hold(ctx, cmd.Process, n.Stop); err != nil {
			return Result{}, fmt.Errorf("hold a worker up: %w", err)
		}
	}
}
