// Package postgrestest makes small real PostgreSQL clusters for tests: a
// primary and standbys that stream from it, as processes of this machine, each
// with a loopback address of its own, all on one port.
//
// Nothing fails over by itself here; tests promote, kill and freeze.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Options say what differs from a bare primary.
type Options struct {
	Standbys int
	Conf     []string // lines of postgresql.conf of all servers
	Dir      string   // where the data is; a new folder below /tmp
}

// A Cluster is some servers; Servers[0] is the first primary.
type Cluster struct {
	Servers []*Server
	Port    int
	dir     string
	bin     string
	as      func() *syscall.SysProcAttr
}

// patience bounds a start.
const patience = 60 * time.Second

// Start makes a cluster that is gone when the test ends.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	bin, as, err := install()
	testenv.Need(t, "postgres", err)
	c := &Cluster{bin: bin, as: as, dir: o.Dir}
	if c.dir == "" {
		// Not t.TempDir: the folder's parents must be open to the user postgres.
		if c.dir, err = os.MkdirTemp("/tmp", "dapple-pg-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(c.dir); err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Own(c.dir); err != nil {
		t.Fatal(err)
	}
	if c.Port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range c.Servers {
			s.Kill()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 1 + o.Standbys {
		if err := c.add(ctx, i, o.Conf); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Binding is how a drill would be bound to the cluster.
func (c *Cluster) Binding() probes.Binding {
	b := probes.Binding{
		Clients: probes.Clients{DSN: c.DSN() + "&target_session_attrs=read-write", Connect: time.Second},
		Extra:   map[string]string{"postgres_port": strconv.Itoa(c.Port)},
	}
	for _, s := range c.Servers {
		b.Nodes = append(b.Nodes, s)
	}
	return b
}

// DSN leads to any of the servers.
func (c *Cluster) DSN() string {
	var hosts []string
	for _, s := range c.Servers {
		hosts = append(hosts, net.JoinHostPort(s.Addr, strconv.Itoa(c.Port)))
	}
	return "postgres://postgres@" + strings.Join(hosts, ",") + "/postgres?sslmode=disable"
}

// add makes server i and starts it.
func (c *Cluster) add(ctx context.Context, i int, conf []string) error {
	s := &Server{c: c, name: fmt.Sprintf("pg%d", i+1), Data: filepath.Join(c.dir, fmt.Sprintf("pg%d", i+1))}
	// 127.0.0.0/8 is all loopback; the process number keeps packages apart.
	s.Addr = fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>8&0x7f, os.Getpid()&0xff, i+1)
	c.Servers = append(c.Servers, s)
	if i == 0 {
		if err := c.run(ctx, "initdb", "-D", s.Data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"); err != nil {
			return err
		}
		hba := "local all all trust\nhost all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n"
		if err := os.WriteFile(filepath.Join(s.Data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
			return err
		}
	} else if err := c.run(ctx, "pg_basebackup", "-h", c.Servers[0].Addr, "-p", strconv.Itoa(c.Port), "-U", "postgres",
		"-D", s.Data, "-R", "-X", "stream", "-c", "fast"); err != nil {
		return err
	}
	s.conf = append([]string{
		"wal_level=replica", "max_wal_senders=10", "wal_log_hints=on", "fsync=off", "shared_buffers=64MB",
		"wal_retrieve_retry_interval=200ms", "max_connections=50", "cluster_name=" + s.name,
	}, conf...)
	return s.Start(ctx)
}

// run runs one of PostgreSQL's programs as its user.
func (c *Cluster) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.SysProcAttr, cmd.Dir = c.as(), c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Own gives a file or folder to the user that runs the servers.
func (c *Cluster) Own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	cred := c.as().Credential
	return os.Chown(path, int(cred.Uid), int(cred.Gid))
}

// A Server is one node: a targets.Node with an address, from whose inside one
// can dial, since it shares our network.
type Server struct {
	Addr string
	Data string // its data folder
	c    *Cluster
	name string
	conf []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

var (
	_ targets.Node      = (*Server)(nil)
	_ targets.Addresser = (*Server)(nil)
	_ targets.Dialer    = (*Server)(nil)
)

// Name is pg1 for the first primary, then pg2 …
func (s *Server) Name() string { return s.name }

// Exec is not needed by any probe of PostgreSQL.
func (s *Server) Exec(context.Context, ...string) ([]byte, error) {
	return nil, targets.ErrUnsupported
}

// Addresses is the server's own loopback address.
func (s *Server) Addresses(context.Context) ([]string, error) { return []string{s.Addr}, nil }

// DialContext dials from the server's own address.
func (s *Server) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.Addr)}}
	return d.DialContext(ctx, network, addr)
}

// Start starts the server and returns once it takes connections.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.c.run(ctx, "pg_isready", "-q", "-h", s.Addr, "-p", strconv.Itoa(s.c.Port))
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended while it started: %s", s.name, &s.log)
		case <-ctx.Done():
			return fmt.Errorf("%s takes no connections: %w: %w", s.name, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Launch starts the server and does not wait for it.
func (s *Server) Launch() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Reset()
	args := []string{"-D", s.Data, "-p", strconv.Itoa(s.c.Port), "-c", "listen_addresses=" + s.Addr, "-c", "unix_socket_directories="}
	for _, line := range s.conf {
		args = append(args, "-c", line)
	}
	s.cmd = exec.Command(filepath.Join(s.c.bin, "postgres"), args...)
	s.cmd.SysProcAttr, s.cmd.Dir = s.c.as(), s.c.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, done := s.cmd, make(chan struct{})
	s.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is told by whoever asked for the end
	}()
	return nil
}

// Closed starts a stopped server so that it takes no connections (57P03), as one
// that is starting does: as a standby that may not be read.
func (s *Server) Closed() error {
	if err := os.WriteFile(filepath.Join(s.Data, "standby.signal"), nil, 0o644); err != nil {
		return err
	}
	s.conf = append(s.conf, "hot_standby=off")
	return s.Launch()
}

// Signal sends sig to the postmaster alone.
func (s *Server) Signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return targets.ErrGone
	}
	return s.cmd.Process.Signal(sig)
}

// Wait waits for the server's end.
func (s *Server) Wait() {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	<-done
}

// Kill kills the server with all its processes at once, and waits for their
// end. It may be called again.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	select {
	case <-done:
		return
	default:
	}
	// PostgreSQL's children are in sessions of their own; they see the
	// postmaster's end and follow. The processes that are frozen do not.
	children := s.children()
	_ = cmd.Process.Kill() // done below tells
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone by itself
	}
	<-done
}

// children lists the processes of the postmaster.
func (s *Server) children() (pids []int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		return nil
	}
	for _, f := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Freeze stops all processes of the server; Thaw lets them go on.
func (s *Server) Freeze() error { return s.all(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (s *Server) Thaw() error { return s.all(syscall.SIGCONT) }

func (s *Server) all(sig syscall.Signal) error {
	err := s.Signal(sig)
	for _, pid := range s.children() {
		err = errors.Join(err, syscall.Kill(pid, sig))
	}
	return err
}

// Promote makes a standby a primary and waits until it is.
func (s *Server) Promote(ctx context.Context) error {
	return s.c.run(ctx, "pg_ctl", "-D", s.Data, "-w", "promote")
}

// Follow makes a stopped server a standby of to: it is copied anew.
func (s *Server) Follow(ctx context.Context, to *Server) error {
	if err := os.RemoveAll(s.Data); err != nil {
		return err
	}
	if err := s.c.run(ctx, "pg_basebackup", "-h", to.Addr, "-p", strconv.Itoa(s.c.Port), "-U", "postgres",
		"-D", s.Data, "-R", "-X", "stream", "-c", "fast"); err != nil {
		return err
	}
	return s.Start(ctx)
}

// install finds the newest server on this machine, and how to become the user
// that may run it.
func install() (bin string, as func() *syscall.SysProcAttr, err error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", nil, err
	}
	best := -1
	for _, path := range found {
		major, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err == nil && major > best {
			best, bin = major, filepath.Dir(path)
		}
	}
	if best < 0 {
		return "", nil, errors.New("no PostgreSQL server is installed: apt-get install postgresql")
	}
	if os.Geteuid() != 0 {
		return bin, func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return "", nil, fmt.Errorf("PostgreSQL refuses to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return "", nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return "", nil, err
	}
	return bin, func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
