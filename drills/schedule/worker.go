package schedule

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// A job is a queued drill, as it is in the database.
type job struct {
	Schedule string    `json:"schedule"`
	Local    string    `json:"local"`
	At       time.Time `json:"at"`
}

// Kind is the job's name in the queue.
func (job) Kind() string { return "drill" }

// A queueBook decides firings in the store, and queues the drills of those that are
// to be done in the same transaction: there is never one without the other.
type queueBook struct {
	s      *Scheduler
	client *river.Client[*sql.Tx]
}

func (b *queueBook) decide(ctx context.Context, e *Entry, f Firing, state State, why string) error {
	d := Decided{Schedule: e.Name, Local: f.Local, At: f.At, State: state, Why: why}
	var queue func(tx *sql.Tx) error
	if state == Queued {
		queue = func(tx *sql.Tx) error {
			_, err := b.client.InsertTx(ctx, tx, job{e.Name, f.Local, f.At}, &river.InsertOpts{MaxAttempts: 1})
			return err
		}
	}
	won, err := b.s.Store.decide(ctx, d, queue)
	if won {
		b.s.tell(d)
	}
	return err
}

// A worker does what is queued.
type worker struct {
	river.WorkerDefaults[job]
	s *Scheduler
}

// Work does a drill, unless somebody has begun with it before: whatever the queue
// does, a second delivery leads to a revert, and never to a second injection.
func (w *worker) Work(ctx context.Context, j *river.Job[job]) error {
	s, d := w.s, Decided{Schedule: j.Args.Schedule, Local: j.Args.Local, At: j.Args.At, Scheduler: w.s.ID}
	e := s.entry(d.Schedule)
	now := s.Now()
	switch {
	case e == nil && now.Sub(d.At) > patience:
		return w.settle(ctx, d, Late, "no scheduler that runs has this schedule")
	case e == nil:
		return river.JobSnooze(elsewhere) // another machine may have it
	case e.tooLate(d.At, now):
		return w.settle(ctx, d, Late, fmt.Sprintf("its turn came %v late, after other drills", now.Sub(d.At).Round(time.Second)))
	case e.Calendar.Held(now) != "":
		return w.settle(ctx, d, Held, "when its turn came: "+e.Calendar.Held(now))
	}
	d.State = Begun
	won, err := s.Store.change(ctx, Queued, d)
	if err != nil {
		s.trouble(err)
		return river.JobSnooze(elsewhere) // nothing has begun
	}
	if !won {
		return w.again(ctx, d)
	}
	s.tell(d)
	out := s.Runner.Run(ctx, Order{e, d.Local, d.At})
	d.State, d.Why, d.Run = out.State, out.Why, out.Run
	return w.end(ctx, d)
}

// settle ends a firing whose drill is not begun.
func (w *worker) settle(ctx context.Context, d Decided, state State, why string) error {
	d.State, d.Why, d.Scheduler = state, why, ""
	won, err := w.s.Store.change(ctx, Queued, d)
	if won {
		w.s.tell(d)
	}
	return err
}

// end writes down what became of the drill, also when the scheduler is being
// stopped.
func (w *worker) end(ctx context.Context, d Decided) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeat)
	defer cancel()
	won, err := w.s.Store.change(ctx, Begun, d)
	if err != nil {
		w.s.trouble(err)
		return river.JobCancel(err)
	}
	if won {
		w.s.tell(d)
	}
	return nil
}

// again is a drill that is delivered although somebody had begun with it.
func (w *worker) again(ctx context.Context, d Decided) error {
	err := w.s.Runner.Revert(ctx)
	w.s.trouble(errors.Join(fmt.Errorf("the queue delivered %s of %s again: reverted, and not done", d.Local, d.Schedule), err))
	return river.JobCancel(errors.New("begun before"))
}
