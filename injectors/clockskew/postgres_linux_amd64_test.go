package clockskew

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
)

// A server is a node that is a PostgreSQL: its postmaster, and what that has forked.
type server struct {
	t    testing.TB
	dsn  string
	main targets.ProcID
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dsn: testenv.NeedPostgres(t)}
	file := s.query("select setting from pg_settings where name = 'data_directory'") + "/postmaster.pid"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("%s: %q, %v", file, data, err)
	}
	if s.main, err = kernel.Identity(pid); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) Name() string { return "n1" }

func (s *server) Exec(context.Context, ...string) ([]byte, error) {
	return nil, errors.New("not needed")
}

func (s *server) Processes(context.Context) (list []targets.Proc, err error) {
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool {
		return p.State != "Z" && (p.ProcID == s.main || p.Parent == s.main.PID)
	}})
	for _, p := range all {
		if p.Main = p.ProcID == s.main; p.Main {
			list = slices.Insert(list, 0, p.Proc)
		} else {
			list = append(list, p.Proc)
		}
	}
	return list, err
}

func (s *server) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// query is answered by a process that the postmaster forks for it.
func (s *server) query(text string) string {
	s.t.Helper()
	out, err := exec.Command("psql", s.dsn, "-qAtXc", text).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", text, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A session is one that stays: a process of the server's that was there before.
type session struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

func (s *server) session() *session {
	s.t.Helper()
	cmd := exec.Command("psql", s.dsn, "-qAtX")
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // the server may have been ended before
	})
	return &session{s.t, in, bufio.NewReader(out)}
}

func (s *session) query(text string) string {
	s.t.Helper()
	fmt.Fprintln(s.in, text+";")
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return strings.TrimSpace(line)
}

// off is by how much the server's answer differs from the truth, within [lo, hi].
func off(t testing.TB, ask func(string) string) (lo, hi time.Duration) {
	t.Helper()
	before := time.Now()
	text := ask("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
	after := time.Now()
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMicro(us)
	// The answer is cut to microseconds.
	return at.Sub(after.Round(0)) - time.Microsecond, at.Sub(before.Round(0)) + time.Microsecond
}

func TestAPostgreSQLServerAnswersWithTheSkewThenRightlyAndEndsWhenToldTo(t *testing.T) {
	for with, want := range map[string]time.Duration{`{"offset": "+1h"}`: time.Hour, `{"offset": "-1h"}`: -time.Hour} {
		t.Run(with, func(t *testing.T) {
			s := newServer(t)
			old := s.session()
			sees := func(when string, want time.Duration) {
				t.Helper()
				for who, ask := range map[string]func(string) string{"a session from before": old.query, "a new session": s.query} {
					if lo, hi := off(t, ask); want < lo || want > hi {
						t.Errorf("%s: clock_timestamp() of %s is off by %v to %v, want %v", when, who, lo, hi, want)
					}
				}
			}
			sees("before", 0)
			h := skewed(t, s, with, 5*time.Second)
			sees("skewed", want)
			h.reverted()
			sees("reverted", 0)
			// It was seen once that one did not heed this after a skew.
			if err := syscall.Kill(s.main.PID, syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			until(t, "the server ends", func() (bool, error) {
				dying, err := kernel.Dying(s.main)
				return dying || errors.Is(err, targets.ErrGone), err
			})
		})
	}
}
