package sock_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/sock"
	"github.com/dapple-drills/dapple/internal/testenv"
)

// pair is the client's end of a connection to ourselves.
func pair(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c
}

func TestExactlyTheConnectionThatIsMeantEnds(t *testing.T) {
	testenv.NeedRoot(t)
	for _, x := range []struct{ network, addr string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}} {
		victim, other := pair(t, x.network, x.addr), pair(t, x.network, x.addr)
		local := netip.MustParseAddrPort(victim.LocalAddr().String())
		n, err := sock.Destroy("/proc/self/ns/net", func(l, _ netip.AddrPort) bool {
			return l.Port() == local.Port() && l.Addr() == local.Addr().Unmap()
		})
		if n != 1 || err != nil {
			t.Errorf("%s: %d ended, %v, want 1", x.network, n, err)
		}
		_ = victim.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := victim.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("%s: reading from it: %v, want aborted", x.network, err)
		}
		if _, err := other.Write([]byte("x")); err != nil {
			t.Errorf("%s: the other one: %v", x.network, err)
		}
	}
}
