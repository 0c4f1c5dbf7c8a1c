package ssh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// A relay carries connections from inside of nodes over the stdio of a process:
// HTTP/2 without TLS, one stream for each, so that one that is full does not stop
// the others. A request names the node and the address; the answer says whether
// the connection was made, or what the kernel said.
const (
	helloPath  = "/hello"
	relayPath  = "/dial"
	headNode   = "Dapple-Node"
	headAddr   = "Dapple-Addr"
	headNet    = "Dapple-Network"
	headErr    = "Dapple-Err"
	headErrno  = "Dapple-Errno"
	headGone   = "Dapple-Gone"
	headLacks  = "Dapple-Unsupported"
	yes        = "yes"
	relayGrace = 2 * time.Second
)

// ErrRelay is wrapped when a connection from inside of a node could not be made or
// kept for our own reasons. It says nothing of the node.
var ErrRelay = errors.New("the relay to the machine is lost")

// A Relay is our side.
type Relay struct {
	cmd    *exec.Cmd
	pipe   *stdio
	client *http.Transport
	said   tail
	over   chan struct{}
	end    sync.Once
}

// StartRelay starts the process whose stdin and stdout are those of ServeRelay, and
// waits for its first word. ctx bounds that alone; it lives until Close.
func StartRelay(ctx context.Context, argv []string) (*Relay, error) {
	r, err := launch(argv)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://relay"+helloPath, nil)
	if err == nil {
		var resp *http.Response
		if resp, err = r.client.RoundTrip(req); err == nil {
			err = resp.Body.Close()
		}
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("starting the relay: %w: %s", err, r.said.String())
	}
	return r, nil
}

func launch(argv []string) (*Relay, error) {
	r := &Relay{cmd: exec.Command(argv[0], argv[1:]...), over: make(chan struct{})}
	r.cmd.SysProcAttr, r.cmd.WaitDelay, r.cmd.Stderr = ownSession(), time.Second, &r.said
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.cmd.Stdout = theirs
	err = r.cmd.Start()
	if err = errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the relay: %w", err), ours.Close())
	}
	r.pipe = newStdio(ours, stdin)
	go func() {
		<-r.pipe.over
		_ = r.cmd.Process.Kill() // if its stdout alone has ended
		_ = r.cmd.Wait()         // its stderr says more
		close(r.over)
	}()
	var once atomic.Bool
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	r.client = &http.Transport{
		Protocols: p, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if once.Swap(true) {
				return nil, ErrRelay
			}
			return r.pipe, nil
		},
	}
	return r, nil
}

// Lost is closed when the relay has ended, asked to or not.
func (r *Relay) Lost() <-chan struct{} { return r.over }

// Close ends the relay and all its connections.
func (r *Relay) Close() {
	r.end.Do(func() {
		_ = r.pipe.Close() // the other side's end is waited for
		select {
		case <-r.over:
		case <-time.After(relayGrace):
			_ = r.cmd.Process.Kill()
			<-r.over
		}
	})
}

// Dial connects from where the node is. What the kernel said over there is in the
// error as it would be here.
func (r *Relay) Dial(ctx context.Context, node targets.Spec, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: want ip:port, names are not resolved: %w", addr, err)
	}
	spec, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	// The stream outlives ctx, which bounds the dialling alone.
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cut)
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(life, http.MethodPost, "http://relay"+relayPath, body)
	if err != nil {
		cut()
		return nil, err
	}
	req.Header.Set(headNode, string(spec))
	req.Header.Set(headNet, network)
	req.Header.Set(headAddr, addr)
	resp, err := r.client.RoundTrip(req)
	if !stop() || err != nil {
		cut()
		if cause := context.Cause(ctx); cause != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: cause}
		}
		return nil, fmt.Errorf("%w: %w: %v %s", ErrRelay, targets.ErrUnsupported, err, r.said.String())
	}
	if err := answered(resp, network, to); err != nil {
		cut()
		return nil, err
	}
	return newConn(resp.Body, feed, cut, to), nil
}

// answered is the error that an answer tells, or nil.
func answered(resp *http.Response, network string, to netip.AddrPort) error {
	h := resp.Header
	said, err := strconv.Unquote(h.Get(headErr))
	if err != nil {
		said = resp.Status
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case h.Get(headGone) == yes:
		return fmt.Errorf("%s: %w", said, targets.ErrGone)
	case h.Get(headLacks) == yes:
		return fmt.Errorf("%s: %w", said, targets.ErrUnsupported)
	}
	err = errors.New(said)
	if n, aerr := strconv.Atoi(h.Get(headErrno)); aerr == nil {
		err = os.NewSyscallError("connect", syscall.Errno(n))
	}
	return &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// newConn is a connection of ours whose other end is copied to and from a stream.
func newConn(in io.ReadCloser, out *io.PipeWriter, cut func(), to netip.AddrPort) net.Conn {
	ours, theirs := net.Pipe()
	c := &conn{Conn: ours, to: net.TCPAddrFromAddrPort(to)}
	go func() {
		_, err := io.Copy(out, theirs)
		_ = out.CloseWithError(err) // nil is the end of the stream
	}()
	go func() {
		_, err := io.Copy(theirs, in)
		if err != nil {
			c.why.Store(&err)
		}
		// As a connection that the other side has closed: nothing more is read, and
		// what is written goes nowhere.
		_ = errors.Join(theirs.Close(), in.Close())
		cut()
	}()
	return c
}

// A conn is a connection from inside of a node.
type conn struct {
	net.Conn
	to  net.Addr
	why atomic.Pointer[error] // its other end broke, and did not end
}

func (c *conn) RemoteAddr() net.Addr { return c.to }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if why := c.why.Load(); errors.Is(err, io.EOF) && why != nil {
		err = &net.OpError{Op: "read", Net: "tcp", Addr: c.to, Err: fmt.Errorf("%w (%v)", syscall.ECONNRESET, *why)}
	}
	return n, err
}
