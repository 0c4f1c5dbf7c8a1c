package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type node struct {
	name string
	addr func() ([]string, error)
}

func (n node) Name() string                                    { return n.name }
func (n node) Exec(context.Context, ...string) ([]byte, error) { return nil, targets.ErrUnsupported }
func (n node) Addresses(context.Context) ([]string, error)     { return n.addr() }
func at(addr ...string) func() ([]string, error) {
	return func() ([]string, error) { return addr, nil }
}
func named(name string, addr func() ([]string, error)) targets.Node { return node{name, addr} }

// A server is a health endpoint behind pipes; answer is what it sends, "" for
// nothing at all.
type server struct {
	began  time.Time
	answer func(at time.Duration) (string, error)
	seen   []string // address and path, at each change
}

func (s *server) dial(_ context.Context, _, addr string) (net.Conn, error) {
	text, err := s.answer(time.Since(s.began))
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		req, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			return
		}
		if what := addr + req.URL.Path; len(s.seen) == 0 || s.seen[len(s.seen)-1] != what {
			s.seen = append(s.seen, what)
		}
		if text == "" {
			buf := make([]byte, 1)
			theirs.Read(buf) // until the other side gives up
			return
		}
		fmt.Fprint(theirs, text)
	}()
	return ours, nil
}

const (
	ok  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	no  = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
	off = "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"
)

func watch(t *testing.T, s *server, template string, d time.Duration, n targets.Node) []string {
	t.Helper()
	s.began = time.Now()
	rec := timeline.NewRecorder(s.began, 1, 0, nil)
	p, err := newProbe(template, []targets.Node{n}, s.dial)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := p.Watch(ctx, rec.Emit); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range rec.Timeline() {
		if e.Kind != timeline.Health || e.By != "health/"+n.Name() || e.Node != n.Name() {
			t.Errorf("unexpected event %+v", e)
		}
		out = append(out, fmt.Sprint(e.At.Lo, " ", e.Value, " ", e.Evidence))
	}
	return out
}

func TestTheCheckIsGreenOrRedAsALoadBalancerHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(at time.Duration) (string, error) {
			switch {
			case at < time.Second:
				return ok, nil
			case at < 2*time.Second:
				return no, nil
			case at < 3*time.Second:
				return "", syscall.ECONNREFUSED
			case at < 4*time.Second:
				return "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", nil
			case at < 5*time.Second:
				return off, nil
			}
			return "", nil
		}}
		got := watch(t, s, "http://{node}:8008/primary", 7900*time.Millisecond, named("pg1", at("10.0.0.1")))
		want := []string{
			"0s green 200 OK", "750ms green 200 OK",
			"1s red 503 Service Unavailable", "1.75s red 503 Service Unavailable",
			"2s red connection refused", "2.75s red connection refused",
			"3s red connection closed before the answer was whole", "3.75s red connection closed before the answer was whole",
			"4s green 302 Found", "4.75s green 302 Found",
			"5s red no answer within 1s", "6s red no answer within 1s",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if d := cmp.Diff([]string{"10.0.0.1:8008/primary"}, s.seen); d != "" {
			t.Errorf("asked (-want +got)\n%s", d)
		}
	})
}

func TestANodeThatComesBackElsewhereIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &server{answer: func(at time.Duration) (string, error) {
			if at > time.Second && at < 5*time.Second {
				return "", syscall.EHOSTUNREACH
			}
			return ok, nil
		}}
		watch(t, s, "http://{node}:80/", 10*time.Second, named("pg1", func() ([]string, error) {
			if time.Since(began) < 4*time.Second {
				return []string{"10.0.0.1"}, nil
			}
			return []string{"fd00::2"}, nil
		}))
		if d := cmp.Diff([]string{"10.0.0.1:80/", "[fd00::2]:80/"}, s.seen); d != "" {
			t.Errorf("asked (-want +got)\n%s", d)
		}
	})
}

func TestANodeWithoutAnAddressIsAskedForByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(time.Duration) (string, error) { return ok, nil }}
		watch(t, s, "http://{node}:80/", time.Second, named("pg1", func() ([]string, error) { return nil, errors.New("it is not running") }))
		if d := cmp.Diff([]string{"pg1:80/"}, s.seen); d != "" {
			t.Errorf("asked (-want +got)\n%s", d)
		}
	})
}

func TestAConnectionIsEnoughForATCPCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := newProbe("tcp://{node}:1", nil, (&net.Dialer{}).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	p.template = "tcp://" + l.Addr().String()
	if value, said := p.check(t.Context(), ""); value != Green {
		t.Errorf("a port that listens is %s: %s", value, said)
	}
	l.Close()
	if value, said := p.check(t.Context(), ""); value != Red || said != "connection refused" {
		t.Errorf("a port that is closed is %s: %s", value, said)
	}
}

func TestAURLThatCannotBeAskedIsRefused(t *testing.T) {
	two := []targets.Node{named("a", at("1")), named("b", at("2"))}
	for template, want := range map[string]string{
		"http://10.0.0.1:8008/":  "put {node} where the address goes",
		"ftp://{node}/":          "known are http, https and tcp",
		"{node}:8008":            "scheme",
		"tcp://{node}":           "no port",
		"http://:80/{node}":      "no host",
		"http://{node}:x/":       "invalid port",
		"http://{node}:8008/%zz": "invalid URL escape",
	} {
		if _, err := New(template, two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want an error with %q, got %v", template, want, err)
		}
	}
}
