package killmatrix

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

func TestEveryFaultOfTheCatalogueHasARow(t *testing.T) {
	var have, want []string
	for _, r := range rows() {
		have = append(have, r.kind)
	}
	for _, k := range all.Kinds() {
		want = append(want, k.Name)
	}
	if have = slices.Compact(have); !slices.Equal(have, want) {
		t.Errorf("rows for %v, faults are %v", have, want)
	}
}

// Who is killed, and who is where the agent is in a helper container.
var (
	killed = []string{"runner", "agent", "both"}
	aside  = []string{"helper", "engine"}
)

// CasesEnv is how many cases there are in all; by default as many as fit into
// budget, at least one of each kind.
const (
	CasesEnv = "DAPPLE_MATRIX_CASES"
	SeedEnv  = "DAPPLE_MATRIX_SEED"
	budget   = 45 * time.Second
)

// A result is one case.
type result struct {
	kind, who, phase string
	residual         time.Duration // from the kill to the last look that saw the fault
	waiting          time.Duration // of that, in which some process of this machine waited for a processor or a disk
}

func TestWhoeverIsKilledEveryFaultEnds(t *testing.T) {
	testenv.NeedRoot(t)
	seed := uint64(number(t, SeedEnv, int(time.Now().UnixNano()&0xffffff)))
	cases := number(t, CasesEnv, 0)
	list := rows()
	t.Logf("seed %d (%s)", seed, SeedEnv)
	makePrivate(t)
	results := make([][]result, len(list))
	t.Run("rows", func(t *testing.T) {
		for i, r := range list {
			t.Run(r.named, func(t *testing.T) {
				t.Parallel()
				m := newMatrix(t, r, rand.New(rand.NewPCG(seed, uint64(i))))
				m.control(t)
				begin, share := time.Now(), budget/time.Duration(len(list))
				for n := 0; n < len(killed) || n < cases/len(list) || cases == 0 && time.Since(begin) < share; n++ {
					results[i] = append(results[i], m.one(t, killed[n%len(killed)]))
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	table(t, slices.Concat(results...))
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, text, err)
	}
	return n
}

// A matrix is the cases of one row, one after the other.
type matrix struct {
	row
	v       *victim
	rand    *rand.Rand
	typical map[string]time.Duration // how long a phase took last
	before  string
	engine  *engine // the agent is in a helper container of it; nil: it is a child
}

func newMatrix(t *testing.T, r row, random *rand.Rand) *matrix {
	t.Helper()
	m := &matrix{row: r, v: newVictim(t, r), rand: random, typical: map[string]time.Duration{}}
	m.await(t, "the victim runs", func() bool { _, ok, err := m.v.ready(); return ok && err == nil })
	m.before = m.operators(t)
	return m
}

// one kills somebody in a phase by chance, at an instant of it by chance.
func (m *matrix) one(t *testing.T, who string) result {
	phase := phases[m.rand.IntN(len(phases))]
	if who != "runner" && who != "engine" && phase == "start" {
		phase = "plan" // there is an agent to be killed from then on
	}
	r := m.try(t, who, phase)
	if t.Failed() {
		t.Logf("%s killed in phase %s", who, phase)
	}
	return r
}

// attempts is how often a runner may be unable to begin before that is taken for
// what it must be then: no matter of load.
const attempts = 20

// begin starts a runner and follows it to the phase. One whose agent does not start
// within its lease, on a machine that is that busy, has begun nothing: then another
// one is started, so that no case is left out.
func (m *matrix) begin(t *testing.T, home, await, phase string) (*process, targets.ProcID) {
	t.Helper()
	for n := 1; ; n++ {
		p := m.start(t, home, await)
		id, ok := m.follow(t, p, phase)
		if ok {
			return p, id
		}
		_ = p.stdin.Close()
		p.end()
		if n == attempts {
			t.Fatalf("%s: %d runners in a row could not start an agent: %s", m.kind, n, &p.stderr)
		}
	}
}

// control kills nobody: the fault must be seen to hold in spite of what the operator
// has there (else a look that sees nothing would prove nothing), and how long each
// phase takes is learned.
func (m *matrix) control(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	p, _ := m.begin(t, home, filepath.Join(home, "seen"), "hold")
	defer p.end()
	defer func() {
		if t.Failed() {
			t.Logf("the runner said: %s", &p.stderr)
		}
	}()
	if m.kind != "noop" {
		m.await(t, "the fault is seen from outside", func() bool {
			alive, err := m.alive(m.v)
			return alive && err == nil
		})
	}
	if err := os.WriteFile(filepath.Join(home, "seen"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.follow(t, p, "done")
	if alive, err := m.alive(m.v); alive || err != nil {
		t.Fatalf("%s: it was taken back, and is seen: %v, %v", m.kind, alive, err)
	}
	_ = p.stdin.Close()
	<-p.exited
	m.settled(t, home, "nobody")
}

// try runs one runner, and kills who in the phase.
func (m *matrix) try(t *testing.T, who, phase string) result {
	home := t.TempDir()
	p, id := m.begin(t, home, "", phase)
	defer p.end()
	<-time.After(time.Duration(m.rand.Float64() * float64(m.typical[phase])))
	waited := pressure(t)
	at := m.kill(t, p, who, id)
	r := result{kind: m.named, who: who, phase: phase}
	last, lost := m.watch(t, p, id, who, at)
	if r.residual = last.Sub(at); last.IsZero() {
		r.residual = 0
	}
	r.waiting = min(pressure(t)-waited, r.residual)
	if bound := lease + 500*time.Millisecond; !lost && !m.byHelper(who) && r.residual-r.waiting > bound {
		t.Errorf("%s: %s killed in phase %s: the fault outlived it by %v, of which this machine was overloaded for %v; the bound is %v", m.kind, who, phase, r.residual, r.waiting, bound)
	}
	m.settled(t, home, who)
	return r
}

// kill kills who, and returns when that was.
func (m *matrix) kill(t *testing.T, p *process, who string, id targets.ProcID) (at time.Time) {
	t.Helper()
	at = time.Now()
	switch who {
	case "runner":
		_ = p.cmd.Process.Kill() // it may have ended by itself
		return at
	case "both":
		_ = p.cmd.Process.Kill()
		kill9(t, id)
		return at
	case "agent":
		kill9(t, id)
	case "helper":
		at = m.engine.remove(t, id)
	case "engine":
		m.engine.kill(t)
	}
	_ = p.stdin.Close() // the runner ends when it is done
	return at
}

// byHelper says that nothing but the journal ends the fault then, and that the
// runner, which lacks the rights, works it off by a second helper: it takes as long
// as the engine takes to start one.
func (m *matrix) byHelper(who string) bool { return m.journal && who == "helper" }

// watch looks until those who hold the fault are dead and it has ended, and returns
// the end of the last look that saw it. lost says that only the journal can end it:
// then it does.
func (m *matrix) watch(t *testing.T, p *process, id targets.ProcID, who string, at time.Time) (last time.Time, lost bool) {
	quiet := false
	m.await(t, "the fault ends", func() bool {
		over := p.over() && (id.PID == 0 || dead(id))
		alive, err := m.alive(m.v)
		if err != nil {
			t.Fatalf("looking at the victim: %v", err)
		}
		if alive {
			last = time.Now()
		}
		if over && alive && m.journal && who == "both" && time.Since(at) > lease+500*time.Millisecond {
			lost = true
			return true
		}
		// Once more after all are dead, so that nothing can come later.
		done := over && quiet && !alive
		quiet = over && !alive
		return done
	})
	return last, lost
}

// settled sees that everything is as before, that the journal is worked off, and
// that doing so again does nothing.
func (m *matrix) settled(t *testing.T, home, who string) {
	if m.engine != nil {
		m.engine.settled(t)
	}
	// The agent of a runner that died while it started is known to nobody.
	m.await(t, "no agent is left of "+filepath.Base(home), func() bool {
		s, err := agent.Snapshot(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, drill := range s.Agents {
			if drill == drillOf(home) {
				return false
			}
		}
		return true
	})
	for i := range 2 {
		rep, err := agent.RevertAll(t.Context(), agent.RevertOptions{Config: config(home), Force: true})
		if err := errors.Join(err, rep.Err()); err != nil {
			t.Fatalf("%s: dapple revert: %v", m.kind, err)
		}
		if len(rep.Outcomes) > 0 && (i == 1 || who == "nobody") {
			t.Errorf("%s: reverting again did %+v", m.kind, rep.Outcomes)
		}
	}
	m.await(t, "the victim is as before", func() bool {
		alive, err := m.alive(m.v)
		_, ok, _ := m.v.ready()
		return err == nil && !alive && ok
	})
	if after := m.operators(t); after != m.before {
		t.Errorf("%s: what is the operator's has changed:\nbefore\n%s\nafter\n%s", m.kind, m.before, after)
	}
}

// operators is what an operator has in the victim's network, byte for byte: a
// firewall that lets everything pass before anybody else is asked, a qdisc and a
// route of his own.
func (m *matrix) operators(t *testing.T) string {
	t.Helper()
	path, err := m.v.a.NetNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const look = `nft -as list ruleset; tc qdisc show | sed 's/refcnt [0-9]*//'; ip route show table all | grep -v 'proto kernel'; ip -o link`
	first := ""
	if m.before == "" {
		first = `nft add table inet fw; nft add chain inet fw early '{ type filter hook prerouting priority -500; policy accept; }'; nft add rule inet fw early accept
			iptables -I INPUT -j ACCEPT; iptables -t raw -I PREROUTING -j ACCEPT
			tc qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 1mb latency 50ms; ip route add 203.0.113.0/24 dev eth0; `
	}
	out, err := exec.Command("nsenter", "--net="+path, "sh", "-ec", first+look).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// await polls until ok, for as long as the busiest machine could need.
func (m *matrix) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: it did not come to be that %s", m.kind, what)
		}
	}
}

// pressure is for how long, since the start of the machine, some process that could
// have run had to wait for a processor or a disk (kernel documentation, accounting,
// psi). What a fault outlives its holder by in that time proves nothing.
func pressure(t *testing.T) (sum time.Duration) {
	t.Helper()
	for _, what := range []string{"cpu", "io"} {
		data, err := os.ReadFile("/proc/pressure/" + what)
		if err != nil {
			continue // a kernel without: then all counts
		}
		_, rest, _ := strings.Cut(string(data), "total=")
		text, _, _ := strings.Cut(rest, "\n")
		us, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("/proc/pressure/%s: %v", what, err)
		}
		sum += time.Duration(us) * time.Microsecond
	}
	return sum
}

// table prints the residual times.
func table(t *testing.T, results []result) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d cases\n\nfault\tkilled\tcases\toutlived it\tp50\tmax\tmax, overload taken off\n", len(results))
	for _, r := range rows() {
		for _, who := range slices.Concat(killed, aside) {
			var all, net []time.Duration
			seen := 0
			for _, x := range results {
				if x.kind != r.named || x.who != who {
					continue
				}
				all, net = append(all, x.residual), append(net, x.residual-x.waiting)
				if x.residual > 0 {
					seen++
				}
			}
			if len(all) == 0 {
				continue
			}
			slices.Sort(all)
			note := ""
			switch {
			case r.journal && who == "both":
				note = " (until dapple revert)"
			case r.journal && who == "helper":
				note = " (until another helper)"
			}
			round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%v\t%v%s\t%v\n", r.named, who, len(all), seen, round(all[len(all)/2]), round(all[len(all)-1]), note, round(slices.Max(net)))
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", &b)
	if file := os.Getenv("DAPPLE_MATRIX_OUT"); file != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}
