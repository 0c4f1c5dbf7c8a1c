package netem

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/targets/netns"
)

// What the engine user carries, of 50,000 datagrams a second that one node sends to
// another: the share that arrives, and how late, beside the same without an engine.
// Sender, receiver and engine share this machine's processors.
func BenchmarkFiftyThousandPacketsASecond(b *testing.B) {
	l := newLab(b, "a", "b")
	bare := 0.0
	b.Run("no engine", func(b *testing.B) { bare = flood(b, l) })
	h := inject(b, l.Nodes(), `{"delay": "20ms", "engine": "user"}`)
	h.proof(b)
	b.Run("user", func(b *testing.B) {
		got := flood(b, l)
		if bare > 0 {
			b.ReportMetric(got/bare, "of-no-engine")
		}
		if ok, proof, err := h.inj.Effect(b.Context(), h.node, h.fault); !ok || err != nil {
			b.Logf("no proof of the delay afterwards: %s, %v", proof, err)
		}
	})
}

// flood sends some at that rate and returns how many arrived in a second, from the
// first to the last.
func flood(b *testing.B, l *netns.Lab) float64 {
	b.Helper()
	const every, count = time.Second / 50_000, 25_000
	var in net.PacketConn
	var out net.Conn
	inside(b, l.Node("b"), func() (err error) {
		in, err = net.ListenPacket("udp4", net.JoinHostPort(addrOf(b, l.Node("b"), 4), "0"))
		return err
	})
	defer in.Close()
	if err := in.(*net.UDPConn).SetReadBuffer(32 << 20); err != nil {
		b.Fatal(err)
	}
	inside(b, l.Node("a"), func() (err error) { out, err = net.Dial("udp4", in.LocalAddr().String()); return err })
	defer out.Close()
	arrived, sent := 0, 0
	var took, spent time.Duration
	for b.Loop() {
		if err := in.SetReadDeadline(time.Time{}); err != nil {
			b.Fatal(err)
		}
		begin, last, n := time.Now(), time.Time{}, 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for buf := make([]byte, 100); n < count; n++ {
				if _, _, err := in.ReadFrom(buf); err != nil {
					return // the deadline
				}
				last = time.Now()
			}
		}()
		for i := range count {
			for time.Since(begin) < time.Duration(i)*every {
				runtime.Gosched()
			}
			if _, err := out.Write(make([]byte, 64)); err != nil {
				b.Fatal(err)
			}
		}
		spent += time.Since(begin)
		if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			b.Fatal(err)
		}
		<-done
		arrived, sent, took = arrived+n, sent+count, took+last.Sub(begin)
	}
	b.ReportMetric(float64(sent)/spent.Seconds(), "sent/s")
	b.ReportMetric(float64(arrived)/float64(sent), "arrived")
	rate := float64(arrived) / took.Seconds()
	b.ReportMetric(rate, "arrived/s")
	return rate
}
