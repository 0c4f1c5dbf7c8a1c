package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A counter is where the agent hands sockets to the runner: a socket of its own
// beside stdin and stdout, because a pipe cannot carry descriptors (unix(7),
// SCM_RIGHTS). It has no file, so none can be left behind; each side makes sure
// that the other end is the process that it speaks to (SO_PEERCRED).
//
// The runner listens and the agent comes, so that the agent opens no door.
type counter struct {
	listener *net.UnixListener
	name     string

	mu   sync.Mutex // held from a question to its answer
	conn *net.UnixConn
}

// An order is one question at the counter, and a handout its answer, with the
// descriptor beside it.
type order struct {
	Path string `json:"path"`
	V6   bool   `json:"v6"`
}

type handout struct {
	Err string `json:"err,omitempty"`
	// Lacks and Gone are as in reply.
	Lacks bool `json:"unsupported,omitempty"`
	Gone  bool `json:"gone,omitempty"`
}

// orderSize bounds both, in bytes.
const orderSize = 4 << 10

func openCounter() (*counter, error) {
	name := "@dapple-" + rand.Text() // "@": abstract, without a file
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("opening a socket for the agent: %w", err)
	}
	return &counter{listener: l, name: name}, nil
}

// meet waits for the agent: it is to come before it answers the greeting.
func (c *counter) meet(agent targets.ProcID) error {
	if err := c.listener.SetDeadline(time.Now().Add(grace)); err != nil {
		return err
	}
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return fmt.Errorf("waiting for the agent's socket (does it run in this network namespace?): %w", err)
		}
		pid, err := peer(conn)
		if err == nil && pid == agent.PID {
			c.conn = conn
			return c.listener.Close()
		}
		if err := conn.Close(); err != nil { // a stranger's
			return err
		}
	}
}

func (c *counter) close() {
	// What is closed twice, or was never opened, needs no word.
	_ = c.listener.Close()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// peer is the process at the other end.
func peer(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(cerr, err); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// order asks for one socket.
func (c *counter) order(ctx context.Context, o order) (fd int, err error) {
	data, err := json.Marshal(o)
	if err != nil {
		return -1, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return -1, ErrLost
	}
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	// The answer takes microseconds. One that does not come in time would be taken
	// for the next one's, so the conversation ends with it.
	err = c.conn.SetDeadline(time.Now().Add(greeting))
	if err == nil {
		_, err = c.conn.Write(data)
	}
	var h handout
	if err == nil {
		fd, h, err = receive(c.conn)
	}
	if err != nil {
		// Not wrapped: an error of this socket is not one of a connection to a node,
		// and must not be found by who looks for those.
		return -1, fmt.Errorf("%w: %v", ErrLost, errors.Join(err, c.conn.Close()))
	}
	r := reply{Err: h.Err, Lacks: h.Lacks, Gone: h.Gone}
	return fd, r.err()
}

func receive(c *net.UnixConn) (fd int, h handout, err error) {
	data, rights := make([]byte, orderSize), make([]byte, syscall.CmsgSpace(4))
	n, rn, _, _, err := c.ReadMsgUnix(data, rights)
	if err != nil {
		return -1, h, err
	}
	if err := json.Unmarshal(data[:n], &h); err != nil {
		return -1, h, fmt.Errorf("reading the agent's answer: %w", err)
	}
	if h.Err != "" {
		return -1, h, nil
	}
	msgs, err := syscall.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(msgs) != 1 {
		return -1, h, errors.Join(errors.New("the agent's answer has no socket"), err)
	}
	fds, err := syscall.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, h, errors.Join(errors.New("the agent's answer has no socket"), err)
	}
	return fds[0], h, nil
}

// serveSockets is the agent's side of the counter, for as long as the runner
// keeps it open.
func serveSockets(ctx context.Context, name string, runner targets.ProcID) error {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: name, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("reaching the runner's socket (is it in this network namespace?): %w", err)
	}
	if pid, err := peer(c); err != nil || pid != runner.PID {
		return errors.Join(fmt.Errorf("the runner's socket is pid %d's, and the runner is %v: the two see different processes (another pid namespace)", pid, runner), err, c.Close())
	}
	go func() {
		defer c.Close()
		for buf := make([]byte, orderSize); ; {
			n, err := c.Read(buf)
			if err != nil || n == 0 {
				return // the runner is through
			}
			if handOut(ctx, c, buf[:n]) != nil {
				return
			}
		}
	}()
	return nil
}

// namespace is the only kind of path that a socket is made in.
var namespace = regexp.MustCompile(`^/proc/[1-9][0-9]*/ns/net$`)

func handOut(ctx context.Context, c *net.UnixConn, asked []byte) error {
	var o order
	err := json.Unmarshal(asked, &o)
	if err == nil && !namespace.MatchString(o.Path) {
		err = fmt.Errorf("%q is no network namespace of a process", o.Path)
	}
	var rights []byte
	if err == nil {
		var fd int
		if fd, err = kernel.NetNSSocket(ctx, o.Path, o.V6); err == nil {
			defer syscall.Close(fd) // the message has its copy
			rights = syscall.UnixRights(fd)
		}
	}
	var r reply
	r.fail(err)
	data, merr := json.Marshal(handout{Err: r.Err, Lacks: r.Lacks, Gone: r.Gone})
	if merr != nil {
		return merr
	}
	_, _, err = c.WriteMsgUnix(data, rights, nil)
	return err
}
