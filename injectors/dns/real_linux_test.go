package dns

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/internal/netlook"
)

const (
	soon  = 2 * time.Second        // a busy machine is slow
	never = 150 * time.Millisecond // what passes takes microseconds
)

func TestANodeIsAnsweredAsTheParametersSayByEveryWayAndAsBeforeAfterwards(t *testing.T) {
	l := newLab(t)
	const known, unknown = "NOERROR 10.99.0.1", "NXDOMAIN"
	for _, c := range []struct {
		with        string
		meant, rest string
		wait        time.Duration
	}{
		{`{"refuse": "refused"}`, "REFUSED", "REFUSED", soon},
		{`{"refuse": "servfail", "names": ["db.example.com"]}`, "SERVFAIL", known, soon},
		{`{"refuse": "nxdomain", "names": ["db.example.com"]}`, "NXDOMAIN", known, soon},
		{`{"wrong": ["192.0.2.7"], "names": ["db.example.com"]}`, "NOERROR 192.0.2.7", known, soon},
		{`{"wrong": ["2001:db8::7"], "names": ["example.com"]}`, "NOERROR", "NOERROR", soon},
		{`{"drop": true, "names": ["db.example.com"]}`, "nothing", known, never},
	} {
		t.Run(c.with, func(t *testing.T) {
			h := l.inject(t, c.with)
			if ok, proof := h.effect(t); !ok {
				t.Errorf("not proven: %s", proof)
			} else {
				t.Log(proof)
			}
			if got, _ := l.all(t, "replica.db.example.com.", dns.TypeA, c.wait); got != c.meant {
				t.Errorf("what is meant: %s, want %s", got, c.meant)
			}
			if got, _ := l.all(t, "cache.example.com.", dns.TypeA, soon); got != c.rest {
				t.Errorf("what is not: %s, want %s", got, c.rest)
			}
			h.revert(t)
			if got, _ := l.all(t, "db.example.com.", dns.TypeA, soon); got != known {
				t.Errorf("after revert: %s, want %s", got, known)
			}
			if got, _ := l.all(t, "nobody.invalid.", dns.TypeA, soon); got != unknown {
				t.Errorf("after revert: %s, want %s", got, unknown)
			}
		})
	}
}

func TestAnAnswerComesLaterByTheDelayAndIsTheServersOwn(t *testing.T) {
	l := newLab(t)
	const delay = 300 * time.Millisecond
	h := l.inject(t, `{"delay": "300ms", "names": ["db.example.com"]}`)
	if ok, proof := h.effect(t); !ok {
		t.Fatalf("not proven: %s", proof)
	} else {
		t.Log(proof)
	}
	got, least := l.all(t, "db.example.com.", dns.TypeAAAA, soon)
	if got != "NOERROR fd99::1" || least < delay {
		t.Errorf("%s after %v", got, least)
	}
	if got, least = l.all(t, "web.example.com.", dns.TypeA, soon); got != "NOERROR 10.99.0.1" || least >= delay {
		t.Errorf("another name: %s after %v", got, least)
	}
}

// Two questions on one connection do not wait for each other (RFC 7766): glibc asks
// for both versions of IP so.
func TestQuestionsOnOneConnectionAreDelayedTogether(t *testing.T) {
	l := newLab(t)
	l.inject(t, `{"delay": "300ms"}`)
	c := l.client(t, "tcp", l.servers[0])
	begin := time.Now()
	ids := map[uint16]bool{}
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		q := new(dns.Msg)
		q.SetQuestion("db.example.com.", kind)
		ids[q.Id] = true
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		a, err := c.ReadMsg()
		if err != nil || !ids[a.Id] {
			t.Fatal(a, err)
		}
	}
	if took := time.Since(begin); took < 300*time.Millisecond || took >= 600*time.Millisecond {
		t.Errorf("both took %v", took)
	}
}

// What is held back when the fault ends is answered then: by the real server, and as
// if from it.
func TestTheEndOfTheFaultAnswersWhatWaits(t *testing.T) {
	l := newLab(t)
	h := l.inject(t, `{"delay": "30s"}`)
	c := l.client(t, "udp", l.servers[0])
	q := new(dns.Msg)
	q.SetQuestion("db.example.com.", dns.TypeA)
	if err := c.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	h.revert(t)
	if err := c.SetDeadline(begin.Add(soon)); err != nil {
		t.Fatal(err)
	}
	if a, err := c.ReadMsg(); err != nil || a.Id != q.Id || len(a.Answer) != 1 {
		t.Errorf("%v, %v", a, err)
	}
	t.Logf("answered %v after the revert began", time.Since(begin))
}

// The bad twins: what stands there and does not bite is found.
func TestTheEffectIsNotBelievedButSeen(t *testing.T) {
	l := newLab(t)
	h := l.inject(t, `{"refuse": "servfail"}`)
	path, err := l.Node("app").NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nft := func(commands string) {
		t.Helper()
		cmd := exec.Command("nsenter", "--net="+path, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, c := range map[string]struct{ twin, want string }{
		"another's rule has the questions before": {"add chain inet twin c { type filter hook output priority -500; }\nadd rule inet twin c udp dport 53 udp dport set 5300\n", "was not led to us"},
		"a firewall stops what goes over lo":      {"add chain inet twin c { type filter hook input priority 0; policy drop; }\n", "a firewall of the node"},
	} {
		nft("add table inet twin\n" + c.twin)
		if ok, proof := h.effect(t); ok || !strings.Contains(proof, c.want) {
			t.Errorf("%s: held %v: %s", name, ok, proof)
		}
		if _, err := l.plan(t, `{"drop": true}`); err == nil || !strings.Contains(err.Error(), "table inet twin") {
			t.Errorf("%s: preflight says %v", name, err)
		}
		nft("delete table inet twin\n")
	}
	// A firewall that lets the node talk to itself is no obstacle.
	nft("add table inet twin\nadd chain inet twin c { type filter hook input priority 0; policy drop; }\nadd rule inet twin c iif lo accept\nadd rule inet twin c iifname \"x\" accept\n")
	if _, err := l.plan(t, `{"drop": true}`); err != nil {
		t.Error(err)
	}
	nft("delete table inet twin\n")
	if ok, proof := h.effect(t); !ok {
		t.Error(proof)
	}
}

func TestWhatWasThereBeforeIsThereAfterAndNothingElse(t *testing.T) {
	l := newLab(t)
	path, err := l.Node("app").NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := netlook.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	l.inject(t, `{"drop": true}`).revert(t)
	after, err := netlook.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
}
