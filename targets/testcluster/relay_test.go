package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

// echo is a server that sends back each line.
const echo = `
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
socketserver.ThreadingTCPServer(("127.0.0.1", 5432), H).serve_forever()
`

// relayed starts the relay of patroni-async-lag before an echo server, in a
// container of the cluster's image.
func relayed(t *testing.T, delay time.Duration) (*docker.Node, func() net.Conn) {
	t.Helper()
	testenv.NeedDocker(t)
	o, err := Options{Dir: t.TempDir()}.complete("relay")
	if err != nil {
		t.Fatal(err)
	}
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := ensureImage(t.Context(), e.API(), recipe{"patroni", patroniFiles}, o)
	if err != nil {
		t.Fatal(err)
	}
	name := "dapple-test-relay-" + newID(4)
	script := fmt.Sprintf("/usr/local/lib/dapple/wal-relay 5433 127.0.0.1:5432 %v & exec python3 -c '%s'", delay.Seconds(), echo)
	made, err := e.API().ContainerCreate(t.Context(), &container.Config{
		Image: image, Cmd: []string{"sh", "-c", script}, Labels: map[string]string{"dapple.testrun": os.Getenv("DAPPLE_TEST_RUN")},
	}, &container.HostConfig{}, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := e.API().ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := e.API().ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	nodes, err := e.Find(t.Context(), docker.Query{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	n := nodes[0].(*docker.Node)
	return n, func() net.Conn { return dialRelay(t, n) }
}

// dialRelay returns a connection through which a first line has come back.
func dialRelay(t *testing.T, n *docker.Node) net.Conn {
	t.Helper()
	addrs, err := n.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := firstLine(ctx, net.JoinHostPort(addrs[0], "5433")); err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		select {
		case <-ctx.Done():
			t.Fatal("the relay does not answer")
		case <-tick.C:
		}
	}
}

func firstLine(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(20 * time.Second)
	buf := make([]byte, 6)
	_, err = c.Write([]byte("hello\n"))
	err = errors.Join(err, c.SetDeadline(deadline))
	if _, readErr := io.ReadFull(c, buf); err != nil || readErr != nil {
		return nil, errors.Join(err, readErr, c.Close())
	}
	return c, nil
}

func TestTheRelayHoldsBackAStreamInOrderAndNothingElse(t *testing.T) {
	const delay = time.Second
	_, dial := relayed(t, delay)
	// What goes before the stream has come back: it was not held for ever. The
	// query may arrive in pieces.
	c := dial()
	for _, piece := range []string{"X START_REPLI", "CATION SLOT s 0/1\n"} {
		if _, err := c.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil || !strings.Contains(line, "START_REPLICATION") {
		t.Fatal(line, err)
	}
	sent := time.Now()
	const lines = 20000
	go func() {
		w := bufio.NewWriter(c)
		for i := range lines {
			fmt.Fprintf(w, "line %d\n", i)
		}
		_ = w.Flush() // a reader that waits for ever would tell
	}()
	for i := range lines {
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("line %d: got %q, %v", i, line, err)
		}
		if i == 0 && time.Since(sent) < delay {
			t.Errorf("the first line came after %v, want at least %v", time.Since(sent), delay)
		}
	}
}

func TestTheRelayDiesWithItsNodeAndWhatItHeldIsLost(t *testing.T) {
	n, dial := relayed(t, time.Minute)
	c := dial()
	if _, err := c.Write([]byte("START_REPLICATION\nheld\n")); err != nil {
		t.Fatal(err)
	}
	var f targets.Fencer = n
	if err := f.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The kernel of the dead container may say nothing at all; then a deadline
	// ends the wait. What matters is that nothing comes.
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q, %v; want nothing", got, err)
	}
}
