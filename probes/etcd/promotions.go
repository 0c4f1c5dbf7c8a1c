package etcd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// logWidth is how far a line of the log may be from the instant that it tells
// of: the line is written after the step, with a time in microseconds.
const logWidth = time.Millisecond

// Promotions dates promotions by the members' own logs (settings.logs): the
// line in which raft says that it became leader. The time in it is by the clock
// of the member's machine, which for a member on this machine is ours; if that
// clock was set in between, the dates are off by as much.
func (s *System) Promotions(ctx context.Context, since time.Time, emit timeline.Emit) error {
	var errs []error
	for _, p := range s.all() {
		path, ok := s.logs[p.node.Name()]
		if !ok {
			continue
		}
		data, err := p.node.Exec(ctx, "cat", path)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the log of %s: %w", p.node.Name(), err))
			continue
		}
		for _, l := range leaderships(data) {
			if l.at.Before(since) {
				continue
			}
			emit(l.at.Add(-logWidth), l.at, timeline.Event{
				Kind: timeline.Promoted, Node: p.node.Name(), By: "log/" + p.node.Name(),
				Value: "became leader", Epoch: l.term, Evidence: l.said,
			})
		}
	}
	return errors.Join(errs...)
}

type leadership struct {
	at   time.Time
	term string
	said string
}

// became is raft's own wording (raft v3, raft.go, becomeLeader).
var became = regexp.MustCompile(`^[0-9a-f]+ became leader at term ([0-9]+)$`)

// leaderships finds them in a log of JSON lines. Lines that are not of that form
// are others' business.
func leaderships(log []byte) []leadership {
	var all []leadership
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte("became leader")) {
			continue
		}
		var line struct{ TS, Msg string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		m := became.FindStringSubmatch(line.Msg)
		at, err := time.Parse(time.RFC3339Nano, line.TS)
		if m == nil || err != nil {
			continue
		}
		all = append(all, leadership{at: at, term: m[1], said: line.TS + " " + line.Msg})
	}
	return all
}
