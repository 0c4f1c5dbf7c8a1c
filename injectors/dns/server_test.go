package dns

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// local is a server that stands at loopback for another one, which is dialled by d.
func local(t *testing.T, s state, d dial) (*server, stand) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := stand{server: netip.MustParseAddr("192.0.2.53"), udp: udp, tcp: tcp}
	return serve(t.Context(), s, []stand{x}, d), x
}

// What passes is handed on byte for byte, and its answer back, also if no name
// server could read either.
func TestWhatIsNotMeantPassesByteForByte(t *testing.T) {
	const asked, said = "\x12\x34 not a question", "\x12\x34 not an answer"
	got := make(chan string, 2)
	v, x := local(t, state{Drop: true, Names: []string{"example.com."}}, func(_ context.Context, network string, _ netip.Addr) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			if network == "tcp" {
				message, err := readFrame(far)
				if err != nil {
					return
				}
				got <- string(message)
				_, _ = far.Write(frame([]byte(said)))
				return
			}
			buf := make([]byte, 1000)
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			got <- string(buf[:n])
			_, _ = far.Write([]byte("\x99\x99 of another question"))
			_, _ = far.Write([]byte(said))
		}()
		return near, nil
	})
	defer v.stop()
	udp, err := net.Dial("udp", x.udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Dial("tcp", x.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, _ = udp.Write([]byte(asked))
	_, _ = tcp.Write(frame([]byte(asked)))
	buf := make([]byte, 1000)
	n, err := udp.Read(buf)
	if err != nil || string(buf[:n]) != said {
		t.Errorf("udp: %q, %v", buf[:n], err)
	}
	if message, err := readFrame(tcp); err != nil || string(message) != said {
		t.Errorf("tcp: %q, %v", message, err)
	}
	for range 2 {
		if a := <-got; a != asked {
			t.Errorf("the real server was asked %q", a)
		}
	}
}

// A program that floods its name server gets no more of dapple's memory than is said.
func TestMoreQuestionsThanMayWaitAreDroppedAndTheEndOfTheFaultIsTheEndOfAll(t *testing.T) {
	before := goleak.IgnoreCurrent()
	v, x := local(t, state{Delay: time.Minute}, func(ctx context.Context, _ string, _ netip.Addr) (net.Conn, error) {
		return nil, context.Canceled
	})
	c, err := net.Dial("udp", x.udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := new(dns.Msg)
	q.SetQuestion("db.example.com.", dns.TypeA)
	out, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() int { v.mu.Lock(); defer v.mu.Unlock(); return v.waiting }
	for deadline := time.Now().Add(30 * time.Second); waiting() < mostWaiting; {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait", waiting())
		}
	}
	for range 100 {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if n := waiting(); n > mostWaiting {
		t.Errorf("%d wait", n)
	}
	v.stop()
	v.stop()
	goleak.VerifyNone(t, before)
}
