package docker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
)

func TestADialFromInsideComesFromTheContainersAddress(t *testing.T) {
	testenv.NeedRoot(t)
	e := engine(t)
	n, peer := node(t, e, container.Config{}, container.HostConfig{}), node(t, e, container.Config{}, container.HostConfig{})
	addrs, err := n.Addresses(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatal(addrs, err)
	}
	// The bridge's gateway is this machine.
	gateway := gatewayOf(t, e, n)
	l, err := net.Listen("tcp", gateway+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _, _ := net.SplitHostPort(c.LocalAddr().String()); got != addrs[0] {
		t.Errorf("the dial came from %s, want %s", got, addrs[0])
	}
	// And loopback inside is the container's own.
	if _, err := peer.DialContext(ctx, "tcp", "127.0.0.1:"+port(t, l)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want connection refused", err)
	}
}

func gatewayOf(t testing.TB, e *docker.Engine, n *docker.Node) string {
	t.Helper()
	c, err := e.API().ContainerInspect(t.Context(), n.Container())
	if err != nil {
		t.Fatal(err)
	}
	for _, net := range c.NetworkSettings.Networks {
		return net.Gateway
	}
	t.Fatal("no network")
	return ""
}

func port(t *testing.T, l net.Listener) string {
	t.Helper()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAProcessThatWasExecutedInTheContainerIsOneOfIt(t *testing.T) {
	n := node(t, engine(t), container.Config{}, container.HostConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = n.Exec(ctx, "sleep", "12345") // ends with the container
	}()
	eventually(t, "the second process", func() (bool, string) {
		procs, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(procs) == 2 && procs[0].Main && slices.Equal(procs[1].Args, []string{"sleep", "12345"}), fmt.Sprint(procs)
	})
	cancel()
	<-done
}

func TestAPidOfAnotherMachineIsRefusedAndExplained(t *testing.T) {
	e := engine(t)
	n := node(t, e, container.Config{}, container.HostConfig{})
	// An engine whose pids mean nothing here: what it calls the main process is
	// ours.
	relay := relayEngine(t, e.Endpoint().Socket(), state(t, n).Main.PID, os.Getpid())
	far, err := docker.Endpoint{Host: "unix://" + relay}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	m := find(t, far, n.Container())
	_, err = m.Processes(t.Context())
	if !errors.Is(err, targets.ErrUnsupported) || !strings.Contains(err.Error(), "remote engine") || !strings.Contains(err.Error(), "run dapple on the engine's machine") {
		t.Errorf("got %v, want a refusal with the way out", err)
	}
	if s := state(t, m); s.Main.Start != 0 {
		t.Errorf("got %v: a stranger's start time could be held and signalled", s.Main)
	}
}

func TestAPidThatNobodyHasHereIsRefusedToo(t *testing.T) {
	e := engine(t)
	n := node(t, e, container.Config{}, container.HostConfig{})
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	relay := relayEngine(t, e.Endpoint().Socket(), state(t, n).Main.PID, gone.Process.Pid)
	far, err := docker.Endpoint{Host: "unix://" + relay}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if procs, err := find(t, far, n.Container()).Processes(t.Context()); !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("got %v, %v; want a refusal", procs, err)
	}
}

// relayEngine passes everything on to the engine's socket, and changes one pid
// to another of as many digits or fewer (padded with spaces, which JSON allows).
func relayEngine(t *testing.T, socket string, from, to int) (path string) {
	t.Helper()
	path = t.TempDir() + "/relay.sock"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	was, is := fmt.Sprintf(`"Pid":%d`, from), fmt.Sprintf(`"Pid":%d`, to)
	if len(is) > len(was) {
		is = fmt.Sprintf(`"Pid":%d`, os.Getppid())
	}
	if len(is) > len(was) {
		is = `"Pid":1`
	}
	is += strings.Repeat(" ", len(was)-len(is))
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relayOne(c, socket, was, is) })
		}
	})
	return path
}

func relayOne(c net.Conn, socket, was, is string) {
	defer c.Close()
	up, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = bufio.NewReader(c).WriteTo(up)
		up.Close()
	}()
	buf := make([]byte, 1<<20)
	for {
		n, err := up.Read(buf)
		if _, werr := c.Write([]byte(strings.ReplaceAll(string(buf[:n]), was, is))); err != nil || werr != nil {
			return
		}
	}
}
