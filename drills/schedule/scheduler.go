package schedule

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
)

// An Order is a drill that is to be done now.
type Order struct {
	*Entry
	Local string    // which firing of it
	At    time.Time // when that was due
}

// An Outcome is what became of an order.
type Outcome struct {
	State State // Done, Refused or Failed
	Why   string
	Run   string // of the record, if there is one
}

// A Runner does drills. The scheduler calls Run for one at a time, at most once for
// each firing; it ends early, with everything reverted, when ctx does. Revert takes
// back whatever a dead dapple left on this machine; it is safe to repeat.
type Runner interface {
	Run(ctx context.Context, o Order) Outcome
	Revert(ctx context.Context) error
}

// A Change is something that became of a firing, or trouble of the scheduler's own.
type Change struct {
	Entry   *Entry // nil for trouble
	Decided Decided
	Trouble error
}

// A Scheduler has the drills of its entries done when they are due.
type Scheduler struct {
	Store   *Store
	Entries []*Entry
	Runner  Runner
	ID      string           // of this scheduler, the same again after a restart
	Now     func() time.Time // nil: the clock of this machine
	Tell    func(Change)     // is told what happens; must be quick; nil: nobody
	Log     io.Writer        // for what the queue has to say
}

// Times of the scheduler's own work. A scheduler that was not heard of for the time
// of silence is taken for dead.
const (
	heartbeat   = 30 * time.Second
	silence     = 4 * heartbeat
	poll        = 3 * time.Second
	stopping    = 5 * time.Minute // for the revert of a drill that is interrupted
	elsewhere   = 10 * time.Second
	stuckAfter  = 7 * 24 * time.Hour // longer than any drill
	keepSettled = 30 * 24 * time.Hour
)

// Run keeps the schedules until ctx ends; a drill that is being done then is
// interrupted, and everything reverted, before it returns.
func (s *Scheduler) Run(ctx context.Context) error {
	return s.serve(ctx, func(l *loop) error {
		beating := make(chan struct{})
		go func() { defer close(beating); s.beat(ctx) }()
		l.run(ctx, s.trouble)
		<-beating
		return nil
	})
}

// Once decides what is due now, and returns when nothing of it is left to do.
func (s *Scheduler) Once(ctx context.Context) error {
	return s.serve(ctx, func(l *loop) error {
		var failed []error
		l.start()
		l.round(ctx, func(err error) { failed = append(failed, err) })
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for len(failed) == 0 {
			left, err := s.Store.open(ctx)
			if err != nil || left == 0 {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
		return errors.Join(failed...)
	})
}

// serve has the queue work while a loop is kept.
func (s *Scheduler) serve(ctx context.Context, keep func(l *loop) error) error {
	if s.Now == nil {
		s.Now = time.Now
	}
	if err := Unique(s.Entries); err != nil {
		return err
	}
	err := s.afterCrash(ctx)
	var l *loop
	if err == nil {
		l, err = s.loop(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	client, err := s.queue()
	if err != nil {
		return err
	}
	l.book = &queueBook{s, client}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return told(fmt.Errorf("start the queue: %w", err))
	}
	err = keep(l)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopping)
	defer cancel()
	if serr := client.StopAndCancel(end); serr != nil {
		err = errors.Join(err, fmt.Errorf("end the drill that is being done: %w", serr))
	}
	return err
}

// afterCrash settles what this scheduler had begun when it last died: the faults
// were taken back by their agents, and are again by the journal; the drill is never
// done again.
func (s *Scheduler) afterCrash(ctx context.Context) error {
	lost, err := s.Store.begunBy(ctx, s.ID)
	if err != nil || len(lost) == 0 {
		return err
	}
	return s.lose(ctx, lost)
}

// lose reverts what lost drills may have left here, and writes down that they are.
func (s *Scheduler) lose(ctx context.Context, lost []Decided) error {
	err := s.Runner.Revert(ctx)
	for _, d := range lost {
		d.State, d.Why = Lost, "the scheduler died while the drill was done; what it had injected was taken back"
		if err != nil {
			d.Why = "the scheduler died while the drill was done, and not everything could be taken back: " + err.Error()
		}
		won, cerr := s.Store.change(ctx, Begun, d)
		if cerr != nil {
			return cerr
		}
		if won {
			s.tell(d)
		}
	}
	return nil
}

// loop makes the loop of the entries.
func (s *Scheduler) loop(ctx context.Context) (*loop, error) {
	now := s.Now()
	names := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		names[i] = e.Name
	}
	first, err := s.Store.firstSeen(ctx, names, now)
	if err != nil {
		return nil, err
	}
	seen, ever, err := s.Store.lastAlive(ctx)
	if err != nil {
		return nil, err
	}
	if !ever {
		seen = now
	}
	return &loop{entries: s.Entries, first: first, now: s.Now, seen: seen}, s.Store.alive(ctx, s.ID, now)
}

// queue makes River's client: one drill at a time, each attempted once.
func (s *Scheduler) queue() (*river.Client[*sql.Tx], error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &worker{s: s}); err != nil {
		return nil, err
	}
	c, err := river.NewClient(s.Store.driver(), &river.Config{
		ID: s.ID, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, Workers: workers,
		MaxAttempts: 1, JobTimeout: -1, RescueStuckJobsAfter: stuckAfter, PollOnly: true, FetchPollInterval: poll,
		CompletedJobRetentionPeriod: keepSettled, CancelledJobRetentionPeriod: keepSettled, DiscardedJobRetentionPeriod: keepSettled,
		Logger: slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, fmt.Errorf("make the queue: %w", err)
	}
	return c, nil
}

// beat says that this scheduler runs, and finds out which others do not any more.
func (s *Scheduler) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.Store.alive(ctx, s.ID, time.Now())
		if err == nil {
			err = s.bury(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.trouble(err)
		}
	}
}

// bury settles the drills of schedulers that have fallen silent. What they had
// injected is taken back where they ran, by their agents, and when they start again.
func (s *Scheduler) bury(ctx context.Context) error {
	lost, err := s.Store.begunBySilent(ctx, time.Now().Add(-silence))
	for _, d := range lost {
		d.State, d.Why = Lost, "the scheduler "+d.Scheduler+" has not been heard of; its agents take back what they hold: see `dapple revert` there"
		won, cerr := s.Store.change(ctx, Begun, d)
		if won {
			s.tell(d)
		}
		err = errors.Join(err, cerr)
	}
	return err
}

func (s *Scheduler) entry(name string) *Entry {
	for _, e := range s.Entries {
		if e.Name == name {
			return e
		}
	}
	return nil
}

func (s *Scheduler) tell(d Decided) {
	if s.Tell != nil {
		s.Tell(Change{Entry: s.entry(d.Schedule), Decided: d})
	}
}

func (s *Scheduler) trouble(err error) {
	if s.Tell != nil {
		s.Tell(Change{Trouble: err})
	}
}
