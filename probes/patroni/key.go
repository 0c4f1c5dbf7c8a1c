package patroni

import (
	"fmt"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A look is one linearizable read of the leader key: at revision rev of the
// store, at some instant in [lo, hi], leader held it ("" for nobody).
type look struct {
	lo, hi time.Time
	rev    int64
	leader string
}

// looks is how many reads are kept: what arrives later than they last (at 50 ms,
// a minute) has wider bounds than it could have.
const looks = 1200

// A key is the leader key as watches and reads see it. The watches say what
// changed; whichever brings it first counts. The reads bound when: the change at
// revision r came after the call of every read of a revision below r, and before
// the reply of every other.
type key struct {
	path   string
	nodeOf func(string) string
	emit   timeline.Emit

	mu     sync.Mutex
	reads  []look // the last ones, in the order of their replies
	rev    int64  // of the last change that was told
	leader string // since then
	begun  bool
	blind  bool
	// deleted is the lower bound of when the key was deleted last.
	deleted time.Time
}

// seen is the revision of the latest read.
func (k *key) seen() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rev
}

// read notes a read. The first is where the watches begin.
func (k *key) read(l look) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.begun {
		k.begun, k.rev, k.leader = true, l.rev, l.leader
	}
	if len(k.reads) == looks {
		k.reads = append(k.reads[:0], k.reads[1:]...)
	}
	k.reads = append(k.reads, l)
	if k.blind && l.rev > k.rev {
		k.blind = false
		k.tell(l.hi, l.rev, l.leader)
	}
}

// change tells of the change at revision rev, which arrived at the instant at,
// unless it has been told.
func (k *key) change(at time.Time, rev int64, leader string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rev > k.rev {
		k.tell(at, rev, leader)
	}
}

func (k *key) tell(at time.Time, rev int64, leader string) {
	before := k.leader
	k.rev, k.leader = rev, leader
	if leader == before {
		return // the same holder under a new lease
	}
	lo, hi := k.bounds(at, rev)
	what := fmt.Sprintf("etcd: revision %d deleted %s, which %s held", rev, k.path, before)
	if leader == "" {
		k.deleted = lo
	} else {
		what = fmt.Sprintf("etcd: revision %d put %s = %s", rev, k.path, leader)
	}
	e := timeline.Event{Kind: timeline.Leader, By: "patroni/etcd", Evidence: what}
	if leader != "" {
		e.Node = k.nodeOf(leader)
	}
	k.emit(lo, hi, e)
}

// bounds are those of the change at revision rev.
func (k *key) bounds(at time.Time, rev int64) (lo, hi time.Time) {
	lo, hi = at.Add(-looks*readEvery), at
	for _, l := range k.reads {
		switch {
		case l.rev < rev && l.lo.After(lo):
			lo = l.lo
		case l.rev >= rev && l.hi.Before(hi):
			hi = l.hi
		}
	}
	return lo, hi
}

// missed says that a watch could not be taken up where it broke off, because
// etcd has forgotten what was between: the next read stands in for it.
func (k *key) missed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.blind = true
}

// notBefore raises lo of something that followed from the last deletion to when
// that can have been, where it lies before hi.
func (k *key) notBefore(lo, hi time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deleted.After(lo) && k.deleted.Before(hi) {
		return k.deleted
	}
	return lo
}
