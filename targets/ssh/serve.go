package ssh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// A Dial connects from where a node is.
type Dial func(ctx context.Context, node targets.Spec, network, addr string) (net.Conn, error)

// ServeRelay is the other side of a Relay, until in ends. What it has connected ends
// with it.
func ServeRelay(ctx context.Context, in io.ReadCloser, out io.WriteCloser, dial Dial) error {
	pipe := newStdio(in, out)
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.HandleFunc(helloPath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc(relayPath, func(w http.ResponseWriter, r *http.Request) { relay(ctx, dial, w, r) })
	s := &http.Server{Handler: mux, Protocols: p}
	err := s.Serve(&single{conn: pipe})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, ignoreClosed(s.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// relay answers one request: it dials, and copies both ways until either ends.
func relay(ctx context.Context, dial Dial, w http.ResponseWriter, r *http.Request) {
	var node targets.Spec
	err := json.Unmarshal([]byte(r.Header.Get(headNode)), &node)
	var far net.Conn
	if err == nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(r.Context(), cancel) // nobody waits for it any more
		far, err = dial(ctx, node, r.Header.Get(headNet), r.Header.Get(headAddr))
		stop()
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer func() { _ = far.Close() }() // both directions have ended, or one broke
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	if flusher.Flush() != nil {
		return
	}
	go func() {
		_, err := io.Copy(far, r.Body)
		if half, ok := far.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite() // the other direction goes on
			return
		}
		_ = far.Close() // our side broke it off: the other direction ends by it
	}()
	if _, err := io.Copy(eager{w, flusher}, far); err != nil {
		panic(http.ErrAbortHandler) // the stream breaks, as the connection did
	}
}

// refuse tells an error so that the other side can make it again.
func refuse(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set(headErr, strconv.QuoteToASCII(err.Error()))
	if errors.Is(err, targets.ErrGone) {
		h.Set(headGone, yes)
	}
	if errors.Is(err, targets.ErrUnsupported) {
		h.Set(headLacks, yes)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		h.Set(headErrno, strconv.Itoa(int(errno)))
	}
	w.WriteHeader(http.StatusBadGateway)
}

// eager sends what is written at once: each byte may be awaited.
type eager struct {
	w io.Writer
	f *http.ResponseController
}

func (e eager) Write(p []byte) (int, error) {
	n, err := e.w.Write(p)
	if err == nil {
		err = e.f.Flush()
	}
	return n, err
}

// stdio is a pair of pipes as a connection.
type stdio struct {
	in   io.ReadCloser
	out  io.WriteCloser
	once sync.Once
	over chan struct{} // closed when nothing more can be read
}

func newStdio(in io.ReadCloser, out io.WriteCloser) *stdio {
	return &stdio{in: in, out: out, over: make(chan struct{})}
}

func (s *stdio) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil {
		s.once.Do(func() { close(s.over) })
	}
	return n, err
}

func (s *stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s *stdio) Close() error {
	err := errors.Join(s.out.Close(), s.in.Close())
	s.once.Do(func() { close(s.over) })
	return err
}

func (s *stdio) LocalAddr() net.Addr              { return pipeAddr{} }
func (s *stdio) RemoteAddr() net.Addr             { return pipeAddr{} }
func (s *stdio) SetDeadline(time.Time) error      { return nil }
func (s *stdio) SetReadDeadline(time.Time) error  { return nil }
func (s *stdio) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "stdio" }

// single is a listener of one connection. It ends with it.
type single struct {
	conn *stdio
	mu   sync.Mutex
	had  bool
}

func (s *single) Accept() (net.Conn, error) {
	s.mu.Lock()
	first := !s.had
	s.had = true
	s.mu.Unlock()
	if first {
		return s.conn, nil
	}
	<-s.conn.over
	return nil, fmt.Errorf("the only connection has ended: %w", io.EOF)
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return pipeAddr{} }
