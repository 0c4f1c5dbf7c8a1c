package etcd

import (
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A look is one answer of a member, or none.
type look struct {
	asked, told  time.Time
	ok           bool
	leader, term uint64
}

// report is where the views of all members go.
type report struct {
	called func(id uint64) string
	emit   timeline.Emit

	mu    sync.Mutex
	leads map[uint64]uint64 // term → its leader, as far as reported
}

func newReport(s *System, emit timeline.Emit) *report {
	return &report{called: s.called, emit: emit, leads: map[uint64]uint64{}}
}

// known says whether it was reported that leader leads term.
func (r *report) known(leader, term uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leads[term] == leader && leader != 0
}

// another says whether a member other than leader was reported to lead term.
func (r *report) another(leader, term uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, ok := r.leads[term]
	return ok && first != leader
}

func (r *report) note(leader, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.leads[term]; !ok && leader != 0 {
		r.leads[term] = leader
	}
}

// A view is what one member holds to be the leader, over time. It turns looks
// into changes, each bounded by the last look with the old view and the first
// with the new one:
//
//	leader A, term 2      the view that is known
//	leader -, term 2      no leader: reported at once
//	leader B, term 2      a new leader, whose term the member does not know yet
//	leader B, term 3      … now it does: reported, as of the look before
//
// Between two looks the state without a leader may be skipped. Where the term
// rose, members were without a leader in between, so it is reported then too, as
// bounded by its neighbours.
//
// A member that was away (it did not answer: dead, frozen, cut off from us) and
// comes back without a leader, or with one that others reported meanwhile, tells
// of its own start and not of the system: that is not reported.
type view struct {
	by string
	to *report

	mu     sync.Mutex
	over   bool
	seen   bool
	last   look // the last that was answered
	leader uint64
	held   uint64 // the last leader that was not none
	term   uint64
	away   bool      // no answer since, or none yet that names a leader
	owed   time.Time // if not zero: it came back without a leader; before that, it last had one then

	waits *change
}

// A change is a new leader that is not reported yet, for its term is not known.
type change struct {
	lo, hi  time.Time
	leader  uint64
	skipped time.Time // if not zero: it has no leader since some time after this, which was not reported
	quiet   bool      // report it only if nobody did before
}

// termWithin is how long a new leader's term is waited for: it comes with its
// first entry, which needs a round trip and an fsync.
const termWithin = time.Second

// see takes a look. Looks of several who ask may overlap; one that was asked for
// before another that is known already tells nothing that could be bounded.
func (v *view) see(l look) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.over:
		return
	case !l.ok:
		v.away = true
		return
	case !v.seen:
		v.seen, v.away, v.leader, v.held, v.term = true, false, l.leader, l.leader, l.term
		v.to.note(l.leader, l.term)
	case l.asked.Before(v.last.asked):
		return
	default:
		v.compare(l)
	}
	v.last = l
}

// known says whether the member has answered yet.
func (v *view) known() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen
}

// compare finds what changed since the last look.
func (v *view) compare(l look) {
	if w := v.waits; w != nil && l.leader == w.leader {
		if l.term > v.term || l.told.Sub(w.hi) > termWithin {
			v.settle(l.term)
		}
		return
	}
	v.settle(v.last.term) // what waited is over: it is reported with what is known
	rose := l.term > v.term
	switch {
	case l.leader == v.leader && !rose:
		v.away = v.away && l.leader == 0
	case l.leader == 0:
		v.lost(l)
	default:
		v.gained(l)
	}
}

// lost: the member has no leader.
func (v *view) lost(l look) {
	switch {
	case v.leader == 0: // nor had it before
	case v.away:
		v.owed = v.last.asked
	default:
		v.leaderless(v.last.asked, l.told, "")
	}
	v.leader, v.term = 0, max(v.term, l.term)
}

// gained: the member has another leader than before, or the same one in a higher
// term.
func (v *view) gained(l look) {
	w := &change{lo: v.last.asked, hi: l.told, leader: l.leader, skipped: v.owed, quiet: v.away}
	switch {
	case v.leader == 0:
	case v.away:
		w.skipped = w.lo
	default:
		v.leaderless(w.lo, w.hi, skipped)
	}
	v.waits = w
	if l.term > v.term {
		v.settle(l.term)
	}
}

const skipped = "skipped between two looks: "

// settle reports the leader that waits. term is the member's at the last look at
// it.
func (v *view) settle(term uint64) {
	w := v.waits
	if w == nil {
		return
	}
	v.term = max(v.term, term)
	if !w.quiet || !v.to.known(w.leader, v.term) {
		if !w.skipped.IsZero() {
			v.leaderless(w.skipped, w.hi, skipped)
		}
		v.led(w)
	}
	v.leader, v.held, v.away, v.owed, v.waits = w.leader, w.leader, false, time.Time{}, nil
}

func (v *view) leaderless(lo, hi time.Time, how string) {
	v.emit(lo, hi, timeline.Event{
		Epoch:    formatTerm(v.last.term),
		Evidence: fmt.Sprintf("%s%s held %s to lead, and then none", how, v.by, v.to.called(v.held)),
	})
}

func (v *view) led(w *change) {
	e := timeline.Event{Node: v.to.called(w.leader), Epoch: formatTerm(v.term)}
	e.Evidence = fmt.Sprintf("%s holds %s to lead term %d", v.by, e.Node, v.term)
	if v.to.another(w.leader, v.term) {
		e.Epoch = ""
		e.Evidence = fmt.Sprintf("%s holds %s to lead, in a term above %d", v.by, e.Node, v.term)
	}
	v.to.note(w.leader, v.term)
	v.emit(w.lo, w.hi, e)
}

func (v *view) emit(lo, hi time.Time, e timeline.Event) {
	e.Kind, e.By = timeline.Leader, "etcd/"+v.by
	v.to.emit(lo, hi, e)
}

// end reports what still waits, and no more after that.
func (v *view) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle(v.last.term)
	v.over = true
}
