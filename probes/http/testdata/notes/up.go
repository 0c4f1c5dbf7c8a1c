package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A layout is who answers where: DIR/layout.json.
type layout struct {
	Nodes  map[string]string // name → host:port
	Router string
}

var names = []string{"a", "b", "c"}

func readLayout(dir string) (l layout, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "layout.json"))
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	return l, err
}

// free is an address that nobody listens on now.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func up(dir, bad string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	l := layout{Nodes: map[string]string{}}
	for _, n := range names {
		if l.Nodes[n], err = free(); err != nil {
			return err
		}
	}
	if l.Router, err = free(); err != nil {
		return err
	}
	data, _ := json.Marshal(l)
	if err := os.WriteFile(filepath.Join(dir, "layout.json"), data, 0o600); err != nil {
		return err
	}
	// Whoever is connected to it ends when we do, however that comes.
	life, err := net.Listen("unix", filepath.Join(dir, "life"))
	if err != nil {
		return err
	}
	defer life.Close()
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(systemFile(exe, dir, bad, l)), 0o600); err != nil {
		return err
	}
	for _, n := range names {
		if err := start(exe, "node", "-dir", dir, "-id", n, "-bad", bad); err != nil {
			return err
		}
	}
	if err := start(exe, "router", "-dir", dir); err != nil {
		return err
	}
	return stay(life, l)
}

// start starts a process, and takes its end away.
func start(argv ...string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	go c.Wait()
	return nil
}

// stay says "ready" once there is a leader behind the router, and waits to be
// ended.
func stay(life net.Listener, l layout) error {
	go func() {
		var held []net.Conn
		for {
			c, err := life.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	for {
		resp, err := http.Get("http://" + l.Router + "/role")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				break
			}
		}
		<-time.After(50 * time.Millisecond)
	}
	fmt.Println("ready")
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
	return nil
}

// live ends this process when the one that called up does.
func live(dir string) error {
	c, err := net.Dial("unix", filepath.Join(dir, "life"))
	if err != nil {
		return err
	}
	go func() {
		c.Read(make([]byte, 1))
		os.Exit(0)
	}()
	return nil
}

// systemFile is the service as dapple is told of it.
func systemFile(exe, dir, bad string, l layout) string {
	var b strings.Builder
	b.WriteString("name: notes\nkind: http\nenvironment: ci\nnodes:\n  hosts:\n")
	for _, n := range names {
		fmt.Fprintf(&b, "    - {name: %s, url: \"http://%s\", pidfile: %s, start: [%s, node, -dir, %s, -id, %s, -bad, %q]}\n",
			n, l.Nodes[n], pidFile(dir, n), exe, dir, n, bad)
	}
	fmt.Fprintf(&b, `clients: {url: "http://%s", connect: 1s, statement: 3s, backoff: {from: 20ms, to: 100ms}}
http:
  write:
    path: /items
    body: '{"id":"{{.ID}}"}'
    timeout: 3s
    acked: [201]
    refused: [409, 503]
    taker: {header: X-Node}
    epoch: {json: $.term}
  ids:    {path: "/items?client={{.Client}}", lines: true}
  role:   {path: /role, primary: primary, replica: replica}
  epoch:  {path: /epoch}
  detect: {path: /status, matches: "no leader|candidate"}
  health: {path: /healthz, ok: [200]}
  clean:  {path: "/items?run={{.Run}}"}
objectives: {detection: 5s, rto: 15s, rpo: 0 writes, split_brain: never, rejoin: 10s, redundancy: 60s, false_green: 1200ms}
`, l.Router)
	return b.String()
}

func pidFile(dir, id string) string { return filepath.Join(dir, id+".pid") }
