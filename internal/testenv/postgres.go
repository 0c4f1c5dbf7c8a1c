package testenv

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
	"syscall"
	"testing"
	"time"
)

// NeedPostgres starts a PostgreSQL server of the test's own (the newest below
// /usr/lib/postgresql, or the one on PATH) on a free port of the loopback, and
// returns how to reach it as its superuser. It is gone when the test ends.
//
// The server writes for real (fsync off, nothing else is weakened), so that
// what it answers is what any server answers.
func NeedPostgres(t testing.TB) (dsn string) {
	t.Helper()
	bin, err := postgresBin()
	Need(t, "postgres", err)
	dsn, stop, err := startPostgres(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

// postgresBin is the folder that holds initdb and postgres.
func postgresBin() (string, error) {
	const how = "install one with apt-get install postgresql"
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	best, bestMajor := "", -1
	for _, path := range found {
		dir := filepath.Dir(path)
		major, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && major > bestMajor {
			best, bestMajor = dir, major
		}
	}
	if best == "" {
		path, err := exec.LookPath("initdb")
		if err != nil {
			return "", fmt.Errorf("no PostgreSQL server is installed: %s", how)
		}
		best = filepath.Dir(path)
	}
	if os.Geteuid() == 0 {
		if _, err := user.Lookup("postgres"); err != nil {
			return "", fmt.Errorf("PostgreSQL refuses to run as root, and there is no user postgres: %s", how)
		}
	}
	return best, nil
}

// startPostgres returns once the server takes connections.
func startPostgres(ctx context.Context, bin string) (dsn string, stop func() error, err error) {
	// Not t.TempDir: the folder's parents must be open to the user postgres.
	dir, err := os.MkdirTemp("/tmp", "dapple-pg-")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	as, err := postgresUser(dir)
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	initdb.SysProcAttr, initdb.Dir = as(), dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("making a PostgreSQL data folder in %s: %w: %s", dir, err, out), remove())
	}
	port, err := freePort()
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	var log bytes.Buffer
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off", "-c", "max_connections=200",
		"-c", "wal_level=replica", "-c", "max_wal_senders=10")
	server.SysProcAttr, server.Dir = as(), dir
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("starting PostgreSQL: %w", err), remove())
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = server.Wait() // how it ended is told by whoever asked for the end
	}()
	stop = func() error {
		// SIGQUIT: immediate shutdown; nobody will want the data again.
		err := server.Process.Signal(syscall.SIGQUIT)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-exited
		return errors.Join(err, remove())
	}
	if err := takesConnections(ctx, bin, dir, port, exited); err != nil {
		err = errors.Join(err, stop())
		return "", nil, fmt.Errorf("%w: its log: %s", err, &log)
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), stop, nil
}

// postgresUser gives dir to the user postgres if we are root, as which
// PostgreSQL refuses to run, and returns how to become that user.
func postgresUser(dir string) (as func() *syscall.SysProcAttr, err error) {
	// Its own process group: a Ctrl-C in the terminal is the test's to handle.
	// Pdeathsig would end the server with the *thread* that started it.
	if os.Geteuid() != 0 {
		return func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// takesConnections polls with pg_isready's own protocol check.
func takesConnections(ctx context.Context, bin, dir string, port int, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := exec.CommandContext(ctx, filepath.Join(bin, "pg_isready"), "-h", dir, "-p", strconv.Itoa(port)).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return errors.New("PostgreSQL ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL takes no connections: %w: %s", ctx.Err(), strings.TrimSpace(string(out)))
		case <-tick.C:
		}
	}
}
