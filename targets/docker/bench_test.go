package docker_test

import (
	"net"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/docker"
)

// What a probe pays a hundred times a second: a connection from inside.
func BenchmarkADialFromInside(b *testing.B) {
	testenv.NeedRoot(b)
	n, addr := benched(b)
	for b.Loop() {
		c, err := n.DialContext(b.Context(), "tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// The same connection from outside, to compare.
func BenchmarkADialFromOutside(b *testing.B) {
	_, addr := benched(b)
	var d net.Dialer
	for b.Loop() {
		c, err := d.DialContext(b.Context(), "tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// What the watch for restarts pays for each look.
func BenchmarkProcesses(b *testing.B) {
	n, _ := benched(b)
	for b.Loop() {
		if procs, err := n.Processes(b.Context()); err != nil || len(procs) != 1 {
			b.Fatal(procs, err)
		}
	}
}

// benched is a container, and a listener on this machine that it can reach.
func benched(b *testing.B) (*docker.Node, string) {
	b.Helper()
	e := engine(b)
	n := node(b, e, container.Config{}, container.HostConfig{})
	l, err := net.Listen("tcp", gatewayOf(b, e, n)+":0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return n, l.Addr().String()
}
