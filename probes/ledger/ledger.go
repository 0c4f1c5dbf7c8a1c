// Package ledger writes to a system as its clients do, remembers what became of
// every write, and looks for each of them again when the drill is over.
//
// Every write is unique and append-only: (run, client, seq), dense per client.
// In memory a write is one bit; its times and who took it are in an append-only
// file, written off the path of the writes. So a hundred million writes fit in
// 13 MB, and a loss still has its date.
//
// The package does not judge: it emits what happened to writes and what the
// audits found. It reads and writes nothing of a system but the ledger's own
// table or keys.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Off as a period means that there are no such streams.
const Off time.Duration = -1

// Defaults of a Config; the periods are those of the measurement rules,
// "Vantage points".
const (
	DefaultApps         = 4
	DefaultFreshPeriod  = 20 * time.Millisecond
	DefaultOldPeriod    = 50 * time.Millisecond
	DefaultDirectPeriod = 50 * time.Millisecond
	DefaultConnect      = time.Second
	DefaultStatement    = 2 * time.Second
	DefaultBackoffFrom  = 50 * time.Millisecond
	DefaultBackoffTo    = 500 * time.Millisecond
	// DefaultPatience is how long a due write waits for its session while an
	// earlier one is served: long enough for the hiccups of a healthy system
	// (a checkpoint's fsync), short against every declared RTO.
	DefaultPatience = 250 * time.Millisecond

	freshInFlight  = 500
	directInFlight = 100
)

// A Config says who writes what how often. A zero field has its default.
type Config struct {
	Run    string    // unique; part of the identity of every write
	Base   time.Time // zero of the trial's clock: that of its Recorder
	System probes.System
	Ledger probes.Ledger  // nil: System is one
	Nodes  []targets.Node // each gets an old and a direct stream

	Apps int // streams app/0 … app/(Apps-1)
	// Rate is how many writes per second all app streams have together. 0 is
	// the closed loop: each writes as fast as it goes, which measures what a
	// system can take and never an outage.
	Rate         float64
	FreshPeriod  time.Duration
	OldPeriod    time.Duration
	DirectPeriod time.Duration

	Reconnect Reconnect
	Patience  time.Duration

	Seed int64  // of the jitter
	Dir  string // for the segments; made if it is not there, and refused if it holds a ledger
	// Shown is what the record calls Dir; empty: the last element of Dir.
	Shown string
}

// Reconnect is how an application of theirs connects again, and how long it
// waits for an answer.
type Reconnect struct {
	Connect     time.Duration // deadline of one attempt
	Statement   time.Duration // deadline of one write
	BackoffFrom time.Duration // wait after the first failed attempt; it doubles
	BackoffTo   time.Duration // up to this; jitter makes each between half of it and all
}

// A Workload is the streams of one trial and their books.
//
// Its life: Prepare, Start, then the fault; AtRisk once the effect is known;
// StopClients, Audit, and after the rejoin StopOld and Audit again; Close. Its
// methods may be called from many goroutines.
type Workload struct {
	cfg     Config
	ledger  probes.Ledger
	streams []*stream // by client number; the last is the audits' own
	keep    *keeper
	buckets buckets
	recent  recent
	clients crew // app, fresh, direct
	olds    crew
	keeping crew // keeper and the closing of buckets
	started time.Time
	audits  audits
}

// New makes a workload. Nothing is checked or touched before Prepare.
func New(cfg Config) *Workload {
	w := newWorkload(cfg)
	for i := range w.cfg.Apps {
		w.add(fmt.Sprintf("app/%d", i), app, nil)
	}
	if w.cfg.FreshPeriod > 0 {
		w.add("fresh", fresh, nil)
	}
	for _, n := range cfg.Nodes {
		if w.cfg.OldPeriod > 0 {
			w.add("old/"+n.Name(), old, n)
		}
		if w.cfg.DirectPeriod > 0 {
			w.add("direct/"+n.Name(), direct, n)
		}
	}
	w.add("audit", barrier, nil)
	return w
}

func newWorkload(cfg Config) *Workload {
	w := &Workload{cfg: cfg.withDefaults(), ledger: cfg.Ledger}
	if w.ledger == nil {
		w.ledger, _ = cfg.System.(probes.Ledger)
	}
	w.keep = newKeeper(w.cfg.Run, w.cfg.Dir)
	return w
}

func (c Config) withDefaults() Config {
	c.Base = orTime(c.Base)
	c.Apps = or(c.Apps, DefaultApps)
	c.FreshPeriod = or(c.FreshPeriod, DefaultFreshPeriod)
	c.OldPeriod = or(c.OldPeriod, DefaultOldPeriod)
	c.DirectPeriod = or(c.DirectPeriod, DefaultDirectPeriod)
	c.Reconnect.Connect = or(c.Reconnect.Connect, DefaultConnect)
	c.Reconnect.Statement = or(c.Reconnect.Statement, DefaultStatement)
	c.Reconnect.BackoffFrom = or(c.Reconnect.BackoffFrom, DefaultBackoffFrom)
	c.Reconnect.BackoffTo = or(c.Reconnect.BackoffTo, DefaultBackoffTo)
	c.Patience = or(c.Patience, DefaultPatience)
	c.Shown = or(c.Shown, filepath.Base(c.Dir))
	return c
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func orTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

func (w *Workload) add(name string, k kind, n targets.Node) {
	s := &stream{w: w, no: len(w.streams), name: name, kind: k, where: probes.Where{Node: n}}
	if k == old && n != nil {
		_, s.where.Inside = n.(targets.Dialer)
	}
	s.books.init(w.keep.low)
	w.streams = append(w.streams, s)
	w.keep.books = append(w.keep.books, &s.books)
	w.keep.names = append(w.keep.names, name)
}

// Streams are the names of the streams, by client number. The last one is the
// audits' own, which writes their barriers.
func (w *Workload) Streams() []string { return append([]string(nil), w.keep.names...) }

// Prepare makes what the writes go to, and the files of the books. Called again
// it does no more.
func (w *Workload) Prepare(ctx context.Context) error {
	if err := w.check(); err != nil {
		return err
	}
	if err := w.ledger.Prepare(ctx, w.cfg.Run); err != nil {
		return fmt.Errorf("prepare the ledger in the system: %w", err)
	}
	return w.keep.open()
}

func (w *Workload) check() error {
	c := w.cfg
	switch {
	case c.System == nil:
		return errors.New("the ledger was given no system")
	case w.ledger == nil:
		return errors.New("this kind of system cannot hold the ledger's writes")
	case c.Run == "":
		return errors.New("the ledger was given no run id")
	case c.Dir == "":
		return errors.New("the ledger was given no directory for its segments")
	case c.Apps < 0 || c.Rate < 0:
		return fmt.Errorf("%d app clients with %v writes per second: neither can be below 0", c.Apps, c.Rate)
	}
	return nil
}

// Start opens the sessions and begins to write. It returns when the old
// sessions, which must be there before the fault, are open or have been refused
// (a SessionEnd event). The workload lives until it is stopped or ctx ends.
func (w *Workload) Start(ctx context.Context, emit timeline.Emit) error {
	if err := w.Prepare(ctx); err != nil {
		return err
	}
	if err := w.keep.reserve(); err != nil {
		return err
	}
	w.clients.begin(ctx)
	w.olds.begin(ctx)
	w.keeping.begin(context.WithoutCancel(ctx))
	for _, s := range w.streams {
		s.line = timeline.NewStream(emit)
		s.emit = emit
	}
	w.keeping.run(func(quit, _ context.Context) { w.keep.run(quit) })
	w.openAll()
	w.started = time.Now()
	w.buckets.begin(w.cfg.Base, w.started, emit)
	w.keeping.run(func(quit, _ context.Context) { w.buckets.run(quit, w.frontier) })
	for _, s := range w.streams {
		s.run()
	}
	return ctx.Err()
}

// openAll makes the first attempt to connect of every stream with a session.
func (w *Workload) openAll() {
	var wg sync.WaitGroup
	for _, s := range w.streams {
		switch s.kind {
		case app:
			wg.Go(func() { s.first = s.open(w.clients.cut) })
		case old:
			wg.Go(func() { s.first = s.open(w.olds.cut) })
		}
	}
	wg.Wait()
}

// StopClients stops app, fresh and direct, waits until what they sent was
// answered or has passed its deadline, and writes the books to disk. If ctx ends
// first, what is left is cut off and counts as unknown.
func (w *Workload) StopClients(ctx context.Context) error {
	w.clients.stop(ctx)
	w.flushLines(func(s *stream) bool { return s.kind != old })
	w.buckets.closeUpTo(w.frontier())
	if err := w.keep.sync(); err != nil {
		return err
	}
	return ctx.Err()
}

// StopOld stops the old sessions. What they sent has the deadline of a
// statement to be answered, and counts as unknown afterwards.
func (w *Workload) StopOld(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, w.cfg.Reconnect.Statement)
	defer cancel()
	w.olds.stop(wait)
	w.flushLines(func(s *stream) bool { return s.kind == old })
	if err := w.keep.sync(); err != nil {
		return err
	}
	return ctx.Err()
}

// Close stops everything that still runs and closes the files. It does not
// remove the rows: see Clean.
func (w *Workload) Close(ctx context.Context) error {
	errs := []error{w.StopClients(ctx), w.StopOld(ctx)}
	w.keeping.stop(ctx)
	return errors.Join(append(errs, w.keep.close())...)
}

// Clean removes the rows of the run from the system.
func (w *Workload) Clean(ctx context.Context) error {
	if err := w.ledger.Clean(ctx, w.cfg.Run); err != nil {
		return fmt.Errorf("remove the ledger from the system: %w", err)
	}
	return nil
}

// Err is why the books can not be kept any more (a full disk), or nil. The writes
// then stop, and no audit is had.
func (w *Workload) Err() error { return w.keep.failed() }

// Remains says whether Dir holds the books of a run.
func Remains(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, reservedFile))
	return err == nil
}

func (w *Workload) flushLines(which func(*stream) bool) {
	for _, s := range w.streams {
		if s.line != nil && which(s) {
			s.line.Flush()
		}
	}
}

// frontier is the instant, in time since Base, before which every due write of
// the client classes has been begun or given up.
func (w *Workload) frontier() time.Duration {
	least := time.Since(w.cfg.Base)
	for _, s := range w.streams {
		if s.kind.client() {
			least = min(least, time.Duration(s.front.Load()))
		}
	}
	return least
}
