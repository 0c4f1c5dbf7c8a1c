package redis

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// Fork looks whether two nodes that claim to be the primary were written to at the
// same time, and emits timeline.Forked for each that was besides the one that the
// Sentinels name.
//
// That the old one is past the offset at which the other left its history is not
// enough: it may have got there before the other was promoted, which is what
// asynchronous replication loses, and it counts pings in it too. The proof is an
// entry of the ledger that it has, the new one has not, and that was sent after
// one which the new one has and it has not. Call it while the old primary still
// runs: once it follows the new one, nothing is left.
func (s *System) Fork(ctx context.Context, emit timeline.Emit) error {
	lo := time.Now()
	looks := make([]info, len(s.places))
	s.each(func(i int, p *place) { looks[i], _ = s.look(ctx, p) }) // who does not answer claims nothing
	var claims []int
	for i, l := range looks {
		if l.role == saysPrimary {
			claims = append(claims, i)
		}
	}
	if len(claims) < 2 {
		return nil
	}
	young := s.leading(ctx, looks)
	if young < 0 {
		return fmt.Errorf("%d nodes claim to be the primary, and the Sentinels name none of them", len(claims))
	}
	for _, old := range claims {
		if old == young {
			continue
		}
		f := fork{s: s, old: s.places[old], young: s.places[young]}
		proof, err := f.prove(ctx)
		if err != nil {
			return fmt.Errorf("comparing the lists of %s and %s: %w", f.old.node.Name(), f.young.node.Name(), err)
		}
		if proof == "" {
			continue
		}
		emit(lo, time.Now(), timeline.Event{
			Kind: timeline.Forked, Node: f.old.node.Name(), By: "fork/" + f.old.node.Name(), Epoch: looks[old].replid,
			Value:    fmt.Sprintf("%s and %s were both written to, on histories that have parted", f.old.node.Name(), f.young.node.Name()),
			Evidence: proof + positions(f, looks[old], looks[young]),
		})
	}
	return nil
}

// A fork is two primaries.
type fork struct {
	s          *System
	old, young *place
}

// An own entry is one that only one of the two has.
type own struct {
	entry string
	sent  time.Duration
}

// prove finds an entry that only old has, sent after one that only young has.
func (f fork) prove(ctx context.Context) (string, error) {
	a, err := f.connect(ctx, f.old)
	if err != nil {
		return "", err
	}
	defer a.close()
	b, err := f.connect(ctx, f.young)
	if err != nil {
		return "", err
	}
	defer b.close()
	f.s.mu.Lock()
	runs := make([]string, 0, len(f.s.runs))
	for run := range f.s.runs {
		runs = append(runs, run)
	}
	f.s.mu.Unlock()
	for _, run := range runs {
		late, early, err := parted(ctx, a, b, run)
		if err != nil {
			return "", err
		}
		if late != nil && early != nil && late.sent > early.sent {
			return fmt.Sprintf("write %s, sent at %v, is on %s alone; write %s, sent at %v before it, is on %s alone",
				late.entry, late.sent, f.old.node.Name(), early.entry, early.sent, f.young.node.Name()), nil
		}
	}
	return "", nil
}

func (f fork) connect(ctx context.Context, p *place) (*conn, error) {
	addr, err := p.address(ctx)
	if err != nil {
		return nil, err
	}
	return connect(ctx, net.JoinHostPort(addr, p.port), f.s.login(), p.dialer())
}

// parted finds the latest entry that only a has, and the earliest that only b has.
func parted(ctx context.Context, a, b *conn, run string) (late, early *own, err error) {
	keys, err := a.keys(ctx, run)
	if err != nil {
		return nil, nil, err
	}
	more, err := b.keys(ctx, run)
	if err != nil {
		return nil, nil, err
	}
	keys = append(keys, more...)
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		l := lists{key: k, a: a, b: b}
		x, y, err := l.own(ctx)
		if err != nil {
			return nil, nil, err
		}
		if x != nil && (late == nil || x.sent > late.sent) {
			late = x
		}
		if y != nil && (early == nil || y.sent < early.sent) {
			early = y
		}
	}
	return late, early, nil
}

// lists are two that were one once: equal up to some index, and different from
// there on, since an entry goes to one of them alone.
type lists struct {
	key  string
	a, b *conn
	err  error
}

// own is the last entry that only a has, and the first that only b has.
func (l *lists) own(ctx context.Context) (x, y *own, err error) {
	n, m := l.length(ctx, l.a), l.length(ctx, l.b)
	at := sort.Search(min(n, m), func(i int) bool { return l.entry(ctx, l.a, i) != l.entry(ctx, l.b, i) })
	if at < n {
		x = l.read(l.entry(ctx, l.a, n-1))
	}
	if at < m {
		y = l.read(l.entry(ctx, l.b, at))
	}
	return x, y, l.err
}

func (l *lists) length(ctx context.Context, c *conn) int {
	if l.err != nil {
		return 0
	}
	n, err := redigo.Int(c.do(ctx, "LLEN", l.key))
	l.err = err
	return n
}

func (l *lists) entry(ctx context.Context, c *conn, i int) string {
	if l.err != nil {
		return ""
	}
	e, err := redigo.String(c.do(ctx, "LINDEX", l.key, strconv.Itoa(i)))
	l.err = err
	return e
}

func (l *lists) read(text string) *own {
	if l.err != nil {
		return nil
	}
	seq, sent, err := parseEntry(text)
	if l.err = err; err != nil {
		return nil
	}
	// dapple:RUN:CLIENT:CHUNK
	part := strings.Split(l.key, ":")
	return &own{entry: part[len(part)-2] + "/" + strconv.FormatUint(seq, 10), sent: sent}
}

// positions adds what the servers say of their histories.
func positions(f fork, old, young info) string {
	said := fmt.Sprintf("; %s is at offset %d of history %s", f.old.node.Name(), old.offset, old.replid)
	if young.before == old.replid {
		said += fmt.Sprintf(", which %s left at %d for %s", f.young.node.Name(), young.left, young.replid)
	}
	return said
}
