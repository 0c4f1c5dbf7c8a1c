package dns

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// A fate is what becomes of one question.
type fate int

const (
	passed   fate = iota // it is handed on, and its answer back
	late                 // likewise, after the delay
	answered             // by us
	dropped
)

// judge says what becomes of a message that was sent to a name server, and how it
// is answered. What is no plain question for one name passes: the real server knows
// what to say of it.
func (s state) judge(message []byte) (fate, []byte) {
	var q dns.Msg
	if q.Unpack(message) != nil || q.Response || q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		return passed, nil
	}
	if !s.means(strings.ToLower(q.Question[0].Name)) {
		return passed, nil
	}
	switch {
	case s.Delay > 0:
		return late, nil
	case s.Drop:
		return dropped, nil
	}
	var a *dns.Msg
	if s.Refuse != "" {
		a = reply(&q, s.Refuse.code())
	} else if a = s.wrong(&q); a == nil {
		return passed, nil
	}
	out, err := a.Pack()
	if err != nil { // of a question that could be read; a server would not answer it either
		return dropped, nil
	}
	return answered, out
}

// reply is an answer without content, as a server gives it that asks others.
func reply(q *dns.Msg, code int) *dns.Msg {
	a := new(dns.Msg)
	a.SetRcode(q, code)
	a.RecursionAvailable = true
	if o := q.IsEdns0(); o != nil { // RFC 6891, 6.1.1: who speaks it is answered in it
		a.SetEdns0(1232, o.Do())
	}
	return a
}

// wrong answers questions for addresses; nil is for all others. Nobody is to keep
// the answer: its time to live is 0.
func (s state) wrong(q *dns.Msg) *dns.Msg {
	kind := q.Question[0].Qtype
	if q.Question[0].Qclass != dns.ClassINET || kind != dns.TypeA && kind != dns.TypeAAAA {
		return nil
	}
	a := reply(q, dns.RcodeSuccess)
	head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: kind, Class: dns.ClassINET}
	for _, addr := range s.Wrong {
		switch ip := net.IP(addr.AsSlice()); {
		case kind == dns.TypeA && addr.Is4():
			a.Answer = append(a.Answer, &dns.A{Hdr: head, A: ip})
		case kind == dns.TypeAAAA && addr.Is6():
			a.Answer = append(a.Answer, &dns.AAAA{Hdr: head, AAAA: ip})
		}
	}
	return a
}
