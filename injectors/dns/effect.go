package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/targets"
)

// A question is one of ours, asked from inside the node.
type question struct {
	server netip.Addr
	name   string
	kind   uint16        // dns.TypeA …
	direct bool          // past the table: what the real server says
	wait   time.Duration // for the answer, at most

	err    error // why it could not be asked
	answer *dns.Msg
	took   time.Duration
}

const (
	// longest is how long a look waits for an answer: that it is not there by then
	// says enough.
	longest = time.Second
	// shortly is how long it waits for one that is not to come.
	shortly = 250 * time.Millisecond
	// nobody is a name that nobody has (RFC 6761, 6.4).
	nobody = "dapple.invalid."
)

// A round is what is asked of one server.
type round struct {
	server           netip.Addr
	hit, real        *question // of what is meant: as the node asks, and past the table; nil if that tells nothing
	other, otherReal *question // likewise of what is not; nil if all is
	before, after    uint64
}

// rounds are the questions of one look.
func (s state) rounds() (list []*round, all []*question) {
	ask := func(server netip.Addr, name string, kind uint16, direct bool, wait time.Duration) *question {
		q := &question{server: server, name: name, kind: kind, direct: direct, wait: wait}
		all = append(all, q)
		return q
	}
	name, kind := s.aimed()
	wait := longest
	switch {
	case s.Drop:
		wait = shortly
	case s.Delay < longest:
		wait += s.Delay
	}
	for _, server := range s.Servers {
		r := &round{server: server, hit: ask(server, name, kind, false, wait)}
		if s.Drop || s.Delay > 0 { // silence tells something only beside its answer
			r.real = ask(server, name, kind, true, wait)
		}
		if other, kind := s.spared(); other != "" {
			r.other, r.otherReal = ask(server, other, kind, false, longest), ask(server, other, kind, true, longest)
		}
		list = append(list, r)
	}
	return list, all
}

// aimed is a question that the fault is to meet.
func (s state) aimed() (name string, kind uint16) {
	kind = dns.TypeA
	if len(s.Wrong) > 0 && !slices.ContainsFunc(s.Wrong, netip.Addr.Is4) {
		kind = dns.TypeAAAA
	}
	switch {
	case len(s.Names) > 0:
		return s.Names[0], kind
	case len(s.Wrong) > 0:
		return nobody, kind
	}
	return s.Known, dns.TypePTR
}

// spared is one that it is not to meet; "" if it meets all.
func (s state) spared() (name string, kind uint16) {
	switch {
	case !s.means(s.Known):
		return s.Known, dns.TypePTR
	case !s.means(nobody):
		return nobody, dns.TypeA
	}
	return "", 0
}

// Effect looks what stands in the node's namespace, asks from inside it as the
// node's programs do, and looks again whether the questions were led to us.
func (l *liar) Effect(ctx context.Context, n targets.Node, s state) (held bool, proof string, err error) {
	at, err := l.stand(ctx, n, s)
	if errors.Is(err, peers.ErrMoved) {
		return false, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	before, err := l.look(ctx, at, s)
	if err != nil {
		return false, "", err
	}
	if why := before.lacks(s); why != "" {
		return false, why, nil
	}
	rounds, questions := s.rounds()
	if err := l.ground.Ask(ctx, at, questions); err != nil {
		return false, "", err
	}
	after, err := l.look(ctx, at, s)
	if err != nil {
		return false, "", err
	}
	if why := after.lacks(s); why != "" {
		return false, why, nil
	}
	var open, seen []string
	for _, r := range rounds {
		r.before, r.after = before.Met[r.server], after.Met[r.server]
		if what, why := s.proven(r); why != "" {
			open = append(open, why)
		} else {
			seen = append(seen, what)
		}
	}
	if len(open) > 0 {
		return false, strings.Join(open, "; "), nil
	}
	return true, fmt.Sprintf("table %s: %s", s.Table, strings.Join(seen, "; ")), nil
}

// Patience gives a delay the time to be seen.
func (l *liar) Patience(state) time.Duration { return 10 * longest }

// lacks says what is not there that should be, or "".
func (v sight) lacks(s state) string {
	switch {
	case !v.There:
		return fmt.Sprintf("there is no table %s", s.Table)
	case v.Lease <= 0:
		return fmt.Sprintf("table %s is there, but its lease is over: it leads nothing to us", s.Table)
	case len(v.Missing) > 0:
		return fmt.Sprintf("table %s lacks %s", s.Table, strings.Join(v.Missing, ", "))
	}
	return ""
}

// proven says what of one server was seen, or what is still open.
func (s state) proven(r *round) (seen, open string) {
	var err error
	for _, q := range []*question{r.hit, r.other} {
		if q != nil && q.err != nil {
			err = errors.Join(err, q.err)
		}
	}
	switch news := r.after - r.before; {
	case err != nil:
		return "", fmt.Sprintf("name server %v cannot be asked from inside: %v", r.server, err)
	case news == 0:
		return "", fmt.Sprintf("a question of ours to name server %v was not led to us: a rule of somebody else's has it before", r.server)
	}
	seen, open = s.bites(r)
	if open == "" && r.other != nil {
		open = r.spares()
		seen += fmt.Sprintf(", %s as before (%s)", short(r.other.name), r.other.words())
	}
	return fmt.Sprintf("name server %v, %d packets met: %s", r.server, r.after, seen), open
}

// bites compares the answer to what is meant with what it is to be.
func (s state) bites(r *round) (seen, open string) {
	got, name := r.hit.words(), short(r.hit.name)
	silent := r.hit.answer == nil
	switch {
	case s.Drop && silent:
		return fmt.Sprintf("%s: %s; the server itself says %s", name, got, r.real.words()), ""
	case !silent && s.Refuse != "" && r.hit.answer.Rcode == s.Refuse.code(), !silent && len(s.Wrong) > 0 && s.isWrong(r.hit):
		return fmt.Sprintf("%s: %s", name, got), ""
	case s.Delay > 0:
		return s.isLate(r)
	case s.Refuse != "" && silent, len(s.Wrong) > 0 && silent:
		return "", fmt.Sprintf("name server %v: a question for %s was led to us, and no answer comes back: a firewall of the node stops packets of its own (over lo)", r.server, name)
	}
	return "", fmt.Sprintf("name server %v: %s: %s, want that answers %s", r.server, name, got, s.fate())
}

// isLate wants an answer to come no earlier than the delay, and at all: a server
// that says nothing is no slow one.
func (s state) isLate(r *round) (seen, open string) {
	got, name := r.hit.words(), short(r.hit.name)
	switch {
	case r.hit.answer != nil && r.hit.took < s.Delay:
		return "", fmt.Sprintf("name server %v: %s: %s, want no answer before %v", r.server, name, got, s.Delay)
	case r.real.answer == nil:
		return "", fmt.Sprintf("name server %v does not answer for %s by itself within %v: that it is delayed cannot be told from its silence; name another with `names`, or those that answer with `servers`", r.server, name, r.real.wait)
	case r.hit.answer == nil && s.Delay < r.hit.wait:
		return "", fmt.Sprintf("name server %v: no answer for %s within %v, with a delay of %v: more is broken than was asked for", r.server, name, r.hit.wait, s.Delay)
	}
	return fmt.Sprintf("%s: %s; the server itself says %s", name, got, r.real.words()), ""
}

// isWrong says whether the answer is exactly the addresses that it is to be.
func (s state) isWrong(q *question) bool {
	var want []netip.Addr
	for _, a := range s.Wrong {
		if a.Is4() == (q.kind == dns.TypeA) {
			want = append(want, a)
		}
	}
	return slices.Equal(q.addresses(), want)
}

// spares wants what is not meant to be answered as the server itself answers it.
func (r *round) spares() (open string) {
	got, real := r.other.answer, r.otherReal.answer
	if real != nil && (got == nil || got.Rcode != real.Rcode) {
		return fmt.Sprintf("name server %v: %s, which is not meant: %s; the server itself says %s", r.server, short(r.other.name), r.other.words(), r.otherReal.words())
	}
	return ""
}

// addresses are those of an answer.
func (q *question) addresses() (list []netip.Addr) {
	if q.answer == nil {
		return nil
	}
	for _, rr := range q.answer.Answer {
		var ip []byte
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, a)
		}
	}
	return list
}

// words is the answer for people.
func (q *question) words() string {
	switch {
	case q.err != nil:
		return q.err.Error()
	case q.answer == nil:
		return fmt.Sprintf("nothing within %v", q.wait)
	}
	what := dns.RcodeToString[q.answer.Rcode]
	if a := q.addresses(); len(a) > 0 {
		what = join(a)
	}
	return fmt.Sprintf("%s after %v", what, q.took.Round(100*time.Microsecond))
}

func short(name string) string { return strings.TrimSuffix(name, ".") }
