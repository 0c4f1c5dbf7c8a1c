package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/http"
)

// standard is the section of the contract's example.
func standard() http.Params {
	return http.Params{
		Write: &http.Write{
			Request: http.Request{Method: "POST", Path: "/items", Body: `{"id":"{{.ID}}"}`, Timeout: time.Second},
			Acked:   []int{200, 201}, Refused: []int{409, 503},
		},
		IDs: &http.IDs{Request: http.Request{Path: "/items?client={{.Client}}"}, Lines: true},
	}
}

// section hands out a value as the system file would.
func section(p http.Params) func(any) error {
	return func(into any) error {
		*into.(*http.Params) = p
		return nil
	}
}

func open(t testing.TB, b probes.Binding, p http.Params) *http.System {
	t.Helper()
	b.Section = section(p)
	s, err := http.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// at is a service at addr, without nodes.
func at(t testing.TB, addr string) *http.System {
	return open(t, probes.Binding{Clients: probes.Clients{DSN: "http://" + addr}}, standard())
}

// raw is a server that does with each connection what it is told to, by the
// connection's number. It counts the requests that came whole.
type raw struct {
	net.Listener
	conns, requests atomic.Int64
}

func listen(t *testing.T, serve func(r *raw, no int64, c net.Conn)) *raw {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			no := r.conns.Add(1)
			go serve(r, no, c)
		}
	}()
	return r
}

// request reads one whole request.
func (r *raw) request(b *bufio.Reader) error {
	q, err := nethttp.ReadRequest(b)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, q.Body)
	r.requests.Add(1)
	return err
}

func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// once answers one request by a text, and then does with the connection what is
// said.
func once(answer string, then func(net.Conn)) func(*raw, int64, net.Conn) {
	return func(r *raw, _ int64, c net.Conn) {
		if r.request(bufio.NewReader(c)) == nil {
			io.WriteString(c, answer)
		}
		then(c)
	}
}

func closed(c net.Conn) { c.Close() }
func hung(net.Conn)     {}

func put(t *testing.T, x probes.Session, seq uint64, within time.Duration) probes.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return x.Put(ctx, probes.Write{Run: "r", Client: 2, Seq: seq})
}

func TestAWriteIsClassedByHowFarItCameAndTheStatusOfAWholeAnswer(t *testing.T) {
	const ok = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		serve  func(*raw, int64, net.Conn)
		class  probes.Class
		reply  string
		broken bool
	}{
		"acked":                     {once(ok, hung), probes.Acked, "201 Created", false},
		"acked, without a length":   {once("HTTP/1.0 200 OK\r\n\r\nok", closed), probes.Acked, "200 OK", false},
		"refused":                   {once("HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", hung), probes.Failed, "409 Conflict", false},
		"refused, and closed":       {once("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", closed), probes.Failed, "503 Service Unavailable", false},
		"500":                       {once("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", hung), probes.Unknown, "500 Internal Server Error", false},
		"another success":           {once("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", hung), probes.Unknown, "202 Accepted", false},
		"redirect":                  {once("HTTP/1.1 307 T\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", hung), probes.Unknown, "307 Temporary Redirect, which is not followed", false},
		"half an answer":            {once("HTTP/1.1 201 Created\r\nContent-Length: 200\r\n\r\nhalf", closed), probes.Unknown, "201 Created, and half an answer: closed by the other side", true},
		"half a refusal":            {once("HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", closed), probes.Unknown, "409 Conflict, and half an answer: closed by the other side", true},
		"half a head":               {once("HTTP/1.1 201 Cre", closed), probes.Unknown, "closed by the other side", true},
		"no answer":                 {once("", closed), probes.Unknown, "closed by the other side", true},
		"reset after the bytes":     {once("", reset), probes.Unknown, "connection reset by peer", true},
		"hang":                      {once("", hung), probes.Unknown, "no answer in time", true},
		"hang in the middle":        {once("HTTP/1.1 201 Created\r\nContent-Length: 200\r\n\r\nhalf", hung), probes.Unknown, "201 Created, and half an answer: no answer in time", true},
		"no HTTP":                   {once("SSH-2.0-OpenSSH\r\n", closed), probes.Unknown, "", true},
		"an interim answer, and ok": {once("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok, hung), probes.Acked, "201 Created", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listen(t, c.serve)
			x, refused := at(t, r.Addr().String()).Open(t.Context(), probes.Where{})
			if refused != nil {
				t.Fatal(*refused)
			}
			defer x.Close()
			within := 5 * time.Second
			if strings.Contains(name, "hang") {
				within = 200 * time.Millisecond
			}
			ack := put(t, x, 7, within)
			if ack.Class != c.class || c.reply != "" && ack.Reply != c.reply || x.Broken() != c.broken {
				t.Errorf("%+v, broken %v; want %s %q, broken %v", ack, x.Broken(), c.class, c.reply, c.broken)
			}
			if n := r.requests.Load(); n != 1 {
				t.Errorf("the write was sent %d times", n)
			}
			if n := r.conns.Load(); n != 1 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

func TestOfARefusedConnectionNoByteLeft(t *testing.T) {
	r := listen(t, func(*raw, int64, net.Conn) {})
	addr := r.Addr().String()
	r.Close()
	x, refused := at(t, addr).Open(t.Context(), probes.Where{})
	if x != nil || refused == nil || refused.Class != probes.Failed || refused.Reply != "not connected: connection refused" {
		t.Errorf("%v, %+v", x, refused)
	}
}

func TestTheDeclaredTimeoutEndsAWriteThatHasADeadlineAndNoOther(t *testing.T) {
	r := listen(t, once("", hung))
	s := at(t, r.Addr().String())
	began := time.Now()
	x, _ := s.Open(t.Context(), probes.Where{})
	defer x.Close()
	if ack := put(t, x, 0, time.Minute); ack.Class != probes.Unknown || ack.Reply != "no answer in time" || time.Since(began) < time.Second || time.Since(began) > 10*time.Second {
		t.Errorf("%+v after %v, want it after 1s", ack, time.Since(began))
	}
	// An old session waits until it is cut off.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(1500*time.Millisecond, cancel)
	y, _ := s.Open(t.Context(), probes.Where{})
	defer y.Close()
	began = time.Now()
	if ack := y.Put(ctx, probes.Write{Run: "r"}); ack.Class != probes.Unknown || ack.Reply != "given up" || time.Since(began) < 1400*time.Millisecond {
		t.Errorf("%+v after %v", ack, time.Since(began))
	}
}

// A server that closes a kept connection makes net/http send a request again on a
// new one, where no byte of it was sent. That would turn an outage into a success.
func TestAWriteIsNeverSentASecondTimeByTheTransport(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for name, end := range map[string]func(net.Conn){"closed": closed, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			r := listen(t, func(r *raw, _ int64, c net.Conn) {
				b := bufio.NewReader(c)
				if r.request(b) == nil {
					io.WriteString(c, ok)
				}
				if r.request(b) == nil { // the second came, and has no answer
					end(c)
				}
			})
			s := open(t, probes.Binding{Clients: probes.Clients{DSN: "http://" + r.Addr().String()}}, func() http.Params {
				p := standard()
				p.Write.Method, p.Write.Path, p.Write.Body = "PUT", "/items/{{.ID}}", "" // idempotent, and nothing to rewind
				return p
			}())
			x, _ := s.Open(t.Context(), probes.Where{})
			defer x.Close()
			if ack := put(t, x, 0, 5*time.Second); ack.Class != probes.Acked {
				t.Fatalf("%+v", ack)
			}
			ack := put(t, x, 1, 5*time.Second)
			if ack.Class != probes.Unknown || !x.Broken() {
				t.Errorf("%+v, broken %v", ack, x.Broken())
			}
			if r.conns.Load() != 1 || r.requests.Load() != 2 {
				t.Errorf("%d connections, %d requests; want 1 and 2", r.conns.Load(), r.requests.Load())
			}
		})
	}
}

// node is a node without any ability.
type node string

func (n node) Name() string { return string(n) }
func (n node) Exec(context.Context, ...string) ([]byte, error) {
	return nil, fmt.Errorf("no")
}

func nodeAt(t *testing.T, addr string) (*http.System, probes.Where) {
	n := node("a")
	b := probes.Binding{Nodes: nodes(n), URLs: map[string]string{"a": "http://" + addr}, Clients: probes.Clients{DSN: "http://" + addr}}
	return open(t, b, standard()), probes.Where{Node: n}
}

func TestAConnectionThatTheServerClosedInOrderIsMadeAnewByClientsAndNotByOldSessions(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	r := listen(t, once(ok, closed)) // not announced: an idle time-out
	s, onNode := nodeAt(t, r.Addr().String())
	x, _ := s.Open(t.Context(), probes.Where{})
	defer x.Close()
	y, _ := s.Open(t.Context(), onNode)
	defer y.Close()
	for seq := range uint64(3) {
		if seq > 0 {
			quiet(t, r, 2+int64(seq)-1)
		}
		if ack := put(t, x, seq, 5*time.Second); ack.Class != probes.Acked || x.Broken() {
			t.Errorf("write %d of a client: %+v, broken %v", seq, ack, x.Broken())
		}
	}
	if ack := put(t, y, 0, 5*time.Second); ack.Class != probes.Acked {
		t.Fatalf("%+v", ack)
	}
	quiet(t, r, 4)
	if ack := put(t, y, 1, 5*time.Second); ack.Class != probes.Failed || ack.Reply != "not sent: closed by the other side" || !y.Broken() {
		t.Errorf("the old session: %+v, broken %v", ack, y.Broken())
	}
}

// quiet waits until a closed connection has been noticed: the end of it is on the
// way, and how long that takes is the kernel's business.
func quiet(t *testing.T, r *raw, conns int64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); r.conns.Load() < conns; {
		if time.Now().After(end) {
			t.Fatal("no connection was made")
		}
	}
	<-time.After(100 * time.Millisecond)
}

func TestWhereTheServerAnnouncesTheEndOfEachConnectionOldSessionsGoOn(t *testing.T) {
	r := listen(t, once("HTTP/1.0 200 OK\r\n\r\n", closed)) // as Python's http.server does
	s, onNode := nodeAt(t, r.Addr().String())
	y, _ := s.Open(t.Context(), onNode)
	defer y.Close()
	for seq := range uint64(3) {
		if ack := put(t, y, seq, 5*time.Second); ack.Class != probes.Acked || y.Broken() {
			t.Errorf("write %d: %+v, broken %v", seq, ack, y.Broken())
		}
	}
	r.Close()
	ack := put(t, y, 3, 5*time.Second)
	if ack.Class != probes.Failed || ack.Reply != "not connected: connection refused" || !y.Broken() {
		t.Errorf("when the server is gone: %+v, broken %v", ack, y.Broken())
	}
}

func TestAWriteWhoseTimeIsUpIsNotSent(t *testing.T) {
	r := listen(t, once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", hung))
	x, _ := at(t, r.Addr().String()).Open(t.Context(), probes.Where{})
	defer x.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ack := x.Put(ctx, probes.Write{Run: "r"}); ack.Class != probes.Failed || r.requests.Load() != 0 {
		t.Errorf("%+v, and %d requests came", ack, r.requests.Load())
	}
}
