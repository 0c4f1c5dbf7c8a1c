package partition

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/targets/netns"
)

// The figures of the README, each beside the same thing done by programs:
// nsenter and nft, one for each node.
func BenchmarkOneNode(b *testing.B) {
	l := newLab(b, "a", "b")
	bench(b, l, `{"from": ["others"]}`, "a")
}

func BenchmarkHundredNodesInTwoHalves(b *testing.B) {
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf("n%02d", i))
	}
	l := newLab(b, all...)
	bench(b, l, `{}`, all[:50]...)
}

func bench(b *testing.B, l *netns.Lab, with string, on ...string) {
	faults, err := plan(b, l.Nodes(), with, on...)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("dapple", func(b *testing.B) {
		var made, seen, undone time.Duration
		for b.Loop() {
			h := &held{faults: faults, inj: map[string]injectors.Injector{}}
			for _, f := range faults {
				h.inj[f.Node] = Kind().Reopen()
			}
			begin := time.Now()
			each(b, faults, func(f injectors.Fault) error { return h.inj[f.Node].Inject(b.Context(), l.Node(f.Node), f) })
			made += time.Since(begin)
			each(b, faults, func(f injectors.Fault) error {
				ok, proof, err := h.inj[f.Node].Effect(b.Context(), l.Node(f.Node), f)
				for again := 0; !ok && err == nil && again < 100; again++ {
					ok, proof, err = h.inj[f.Node].Effect(b.Context(), l.Node(f.Node), f)
				}
				if !ok && err == nil {
					err = fmt.Errorf("not proven: %s", proof)
				}
				return err
			})
			seen += time.Since(begin)
			begin = time.Now()
			each(b, faults, func(f injectors.Fault) error { return h.inj[f.Node].Revert(b.Context(), l.Node(f.Node), f) })
			undone += time.Since(begin)
			each(b, faults, func(f injectors.Fault) error {
				ok, proof, err := h.inj[f.Node].(injectors.Reverted).Reverted(b.Context(), l.Node(f.Node), f)
				if !ok && err == nil {
					err = fmt.Errorf("not reverted: %s", proof)
				}
				return err
			})
			quiet(b, l, faults)
		}
		report(b, "made", made)
		report(b, "proven", seen)
		report(b, "reverted", undone)
	})
	b.Run("programs", func(b *testing.B) {
		if _, err := exec.LookPath("nft"); err != nil {
			b.Skip("no nft here")
		}
		var made, undone time.Duration
		for b.Loop() {
			begin := time.Now()
			each(b, faults, func(f injectors.Fault) error { return shell(l, f, script(stateOf(b, f))) })
			made += time.Since(begin)
			begin = time.Now()
			each(b, faults, func(f injectors.Fault) error { return shell(l, f, "delete table inet cut") })
			undone += time.Since(begin)
			quiet(b, l, faults)
		}
		report(b, "made", made)
		report(b, "reverted", undone)
	})
}

// quiet waits until the kernel has put away what was removed: the next round is
// to find it as a drill does.
func quiet(b *testing.B, l *netns.Lab, faults []injectors.Fault) {
	b.Helper()
	each(b, faults, func(f injectors.Fault) error {
		path, err := l.Node(f.Node).NetNS(b.Context())
		if err != nil {
			return err
		}
		c, err := nft.Dial(path)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func report(b *testing.B, what string, d time.Duration) {
	b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), "ms-"+what)
	b.ReportMetric(0, "ns/op")
}

// each does all faults at once, as an agent does.
func each(b *testing.B, faults []injectors.Fault, do func(injectors.Fault) error) {
	b.Helper()
	var wg sync.WaitGroup
	for _, f := range faults {
		wg.Go(func() {
			if err := do(f); err != nil {
				b.Error(f.Node, err)
			}
		})
	}
	wg.Wait()
}

// script is the same cut in nft's language, without lease and owner.
func script(s state) string {
	var v4, v6 []string
	for _, p := range s.From {
		for _, a := range p.Addrs {
			if a.Is4() {
				v4 = append(v4, a.String())
			} else {
				v6 = append(v6, a.String())
			}
		}
	}
	return fmt.Sprintf(`table inet cut {
	set v4 { type ipv4_addr; elements = { %s }; }
	set v6 { type ipv6_addr; elements = { %s }; }
	chain in { type filter hook prerouting priority -400; ip saddr @v4 counter drop; ip6 saddr @v6 counter drop; }
}`, strings.Join(v4, ", "), strings.Join(v6, ", "))
}

func shell(l *netns.Lab, f injectors.Fault, text string) error {
	path, err := l.Node(f.Node).NetNS(context.Background())
	if err != nil {
		return err
	}
	cmd := exec.Command("nsenter", "--net="+path, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
