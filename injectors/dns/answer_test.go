package dns

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// ask says in words what becomes of a question.
func ask(t *testing.T, s state, name string, kind uint16) string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	m.SetEdns0(4096, true)
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	what, own := s.judge(out)
	if what != answered {
		return map[fate]string{passed: "passed", late: "late", dropped: "dropped"}[what]
	}
	a := new(dns.Msg)
	if err := a.Unpack(own); err != nil {
		t.Fatal(err)
	}
	if a.Id != m.Id || !a.Response || !a.RecursionAvailable || len(a.Question) != 1 || a.Question[0] != m.Question[0] {
		t.Errorf("it is no answer to the question: %v", a)
	}
	if o := a.IsEdns0(); o == nil || !o.Do() {
		t.Errorf("the answer does not speak EDNS: %v", a)
	}
	for _, rr := range a.Answer {
		if rr.Header().Ttl != 0 {
			t.Errorf("it may be kept for %d s", rr.Header().Ttl)
		}
	}
	q := question{answer: a}
	return dns.RcodeToString[a.Rcode] + " " + join(q.addresses())
}

func TestOnlyWhatIsMeantIsAnsweredAndAsSaid(t *testing.T) {
	type asked struct {
		name string
		kind uint16
	}
	a, aaaa := dns.TypeA, dns.TypeAAAA
	for _, c := range []struct {
		with string
		want map[asked]string
	}{
		{`{"delay": "1s"}`, map[asked]string{{"x.", a}: "late", {"y.example.", dns.TypeSRV}: "late"}},
		{`{"drop": true, "names": ["example.com"]}`, map[asked]string{
			{"example.com.", a}: "dropped", {"a.b.EXAMPLE.com.", dns.TypeMX}: "dropped", {"notexample.com.", a}: "passed", {"com.", a}: "passed",
		}},
		{`{"refuse": "refused"}`, map[asked]string{{"x.", a}: "REFUSED "}},
		{`{"refuse": "servfail"}`, map[asked]string{{"x.", dns.TypeTXT}: "SERVFAIL "}},
		{`{"refuse": "nxdomain", "names": ["db"]}`, map[asked]string{{"db.", aaaa}: "NXDOMAIN ", {"db.example.com.", aaaa}: "passed"}},
		{`{"wrong": ["192.0.2.1", "192.0.2.2"]}`, map[asked]string{
			{"x.", a}: "NOERROR 192.0.2.1, 192.0.2.2", {"x.", aaaa}: "NOERROR ", {"x.", dns.TypeSRV}: "passed",
		}},
		{`{"wrong": ["2001:db8::1"]}`, map[asked]string{{"x.", a}: "NOERROR ", {"x.", aaaa}: "NOERROR 2001:db8::1"}},
	} {
		p, err := made(t, c.with)
		if err != nil {
			t.Fatal(err)
		}
		s := state{Names: p.Names, Delay: p.Delay, Refuse: p.Refuse, Wrong: p.Wrong, Drop: p.Drop}
		got := map[asked]string{}
		for q := range c.want {
			got[q] = ask(t, s, q.name, q.kind)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.with, d)
		}
	}
}

// Whatever a program sends, it is not the name server of dapple that fails at it.
func FuzzMessages(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("db.example.com.", dns.TypeA)
	m.SetEdns0(1232, false)
	out, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Add(out[:11])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range []state{{Refuse: servfail}, {Drop: true}, {Names: []string{"example.com."}, Refuse: nxdomain}} {
			what, own := s.judge(data)
			if (what == answered) != (own != nil) {
				t.Errorf("%v with %d bytes", what, len(own))
			}
			if len(own) > 1 && string(own[:2]) != string(data[:2]) {
				t.Error("the answer has another number than the question")
			}
		}
	})
}
