package mysql

import (
	"context"
	"fmt"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

// Fork looks whether two nodes that both take writes have each committed what the
// other has not, and emits timeline.Forked for each besides the one that leads.
//
// That one has transactions which the other lacks is not enough: it may be ahead. If
// each has some, there are two histories (errant transactions, in MySQL's words).
// Call it while the old primary still runs: a member that was let in again has the
// others' history, or none.
func (s *System) Fork(ctx context.Context, emit timeline.Emit) error {
	lo := time.Now()
	looks := s.looks(ctx)
	young := s.leading(looks)
	for old, l := range looks {
		if young < 0 || old == young || l.err != nil || s.claim(l.view).Role != probes.Primary {
			continue
		}
		a, b := s.places[old], s.places[young]
		mine, theirs, err := s.parted(ctx, old, young)
		if err != nil {
			return fmt.Errorf("comparing the transactions of %s and %s: %w", a.node.Name(), b.node.Name(), err)
		}
		if mine == 0 || theirs == 0 {
			continue
		}
		emit(lo, time.Now(), timeline.Event{
			Kind: timeline.Forked, Node: a.node.Name(), By: "fork/" + a.node.Name(), Epoch: s.claim(l.view).Epoch,
			Value:    fmt.Sprintf("%s and %s have each committed what the other has not", a.node.Name(), b.node.Name()),
			Evidence: fmt.Sprintf("gtid_executed: %d transactions on %s alone, %d on %s alone; %s: %s; %s: %s", mine, a.node.Name(), theirs, b.node.Name(), a.node.Name(), l.view, b.node.Name(), looks[young].view),
		})
	}
	return nil
}

// parted counts the transactions that only a has, and those that only b has.
func (s *System) parted(ctx context.Context, a, b int) (mine, theirs int64, err error) {
	hasA, err := s.executed(ctx, a)
	if err != nil {
		return 0, 0, err
	}
	hasB, err := s.executed(ctx, b)
	if err != nil {
		return 0, 0, err
	}
	if mine, err = s.lacks(ctx, s.places[b], hasA); err != nil {
		return 0, 0, err
	}
	theirs, err = s.lacks(ctx, s.places[a], hasB)
	return mine, theirs, err
}
