package ssh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

func TestARelayNeedsNoSSH(t *testing.T) {
	dir, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	relay, err := StartRelay(t.Context(), []string{filepath.Join(dir, "standin"), "relay"})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	testRelay(t, relay)
}

func TestAProcessThatIsNoRelayIsNotTakenForOne(t *testing.T) {
	for _, argv := range [][]string{{"/bin/true"}, {"/bin/echo", "hello"}, {"/none"}} {
		if r, err := StartRelay(t.Context(), argv); err == nil {
			r.Close()
			t.Errorf("%v was taken for a relay", argv)
		}
	}
}

// A far is a listener, and connections to it by a relay.
type far struct {
	t        *testing.T
	relay    *Relay
	l        net.Listener
	accepted chan *net.TCPConn
}

func listen(t *testing.T, relay *Relay) *far {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &far{t, relay, l, make(chan *net.TCPConn)}
	go func() {
		defer close(f.accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.accepted <- c.(*net.TCPConn)
		}
	}()
	return f
}

func (f *far) dial() (ours net.Conn, theirs *net.TCPConn) {
	f.t.Helper()
	ours, err := f.relay.Dial(f.t.Context(), targets.Spec{Name: "a"}, "tcp", f.l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return ours, <-f.accepted
}

func testRelay(t *testing.T, relay *Relay) {
	t.Helper()
	f := listen(t, relay)
	ours, theirs := f.dial()
	if ours.RemoteAddr().String() != f.l.Addr().String() {
		t.Errorf("it leads to %v", ours.RemoteAddr())
	}
	f.talk(ours, theirs)
	f.apart()
	f.ends(ours, theirs)
	if err := f.l.Close(); err != nil {
		t.Error(err)
	}
	f.refusals()
}

// talk has each word awaited, and then none come.
func (f *far) talk(ours net.Conn, theirs *net.TCPConn) {
	t := f.t
	t.Helper()
	in, out := bufio.NewReader(ours), bufio.NewReader(theirs)
	for i := range 100 {
		if _, err := fmt.Fprintf(ours, "ask %d\n", i); err != nil {
			t.Fatal(err)
		}
		if got, err := out.ReadString('\n'); err != nil || got != fmt.Sprintf("ask %d\n", i) {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := fmt.Fprintf(theirs, "answer %d\n", i); err != nil {
			t.Fatal(err)
		}
		if got, err := in.ReadString('\n'); err != nil || got != fmt.Sprintf("answer %d\n", i) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var late net.Error
	if _, err := in.ReadByte(); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("%v, want a time-out", err)
	}
}

// apart: one that nobody reads does not stop another.
func (f *far) apart() {
	t := f.t
	t.Helper()
	stuck, silent := f.dial()
	go func() { _, _ = stuck.Write(make([]byte, 16<<20)) }() // it never gets rid of all that
	other, end := f.dial()
	if _, err := other.Write([]byte("x\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(end).ReadString('\n'); err != nil || got != "x\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(silent.Close(), stuck.Close(), end.Close(), other.Close()); err != nil {
		t.Error(err)
	}
}

// ends: an end and a reset are told from one another.
func (f *far) ends(ours net.Conn, theirs *net.TCPConn) {
	t := f.t
	t.Helper()
	other, end := f.dial()
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after its end: %v", err)
	}
	if err := errors.Join(theirs.SetLinger(0), theirs.Close(), ours.SetReadDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after its reset: %v", err)
	}
}

// refusals: what the kernel says over there is what it would say here.
func (f *far) refusals() {
	t := f.t
	t.Helper()
	var op *net.OpError
	if _, err := f.relay.Dial(t.Context(), targets.Spec{Name: "a"}, "tcp", f.l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("%v, want refused", err)
	}
	if _, err := f.relay.Dial(t.Context(), targets.Spec{Name: "gone"}, "tcp", "127.0.0.1:1"); !errors.Is(err, targets.ErrGone) {
		t.Errorf("%v, want gone", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.relay.Dial(ctx, targets.Spec{Name: "a"}, "tcp", "192.0.2.1:9"); err == nil || errors.Is(err, ErrRelay) {
		t.Errorf("%v, want a time-out of the node's", err) // TEST-NET-1: nobody answers
	}
}
