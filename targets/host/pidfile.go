package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A pidfile is a service that tells its main process in a file.
type pidfile struct {
	path string
	argv []string // starts it; none: nothing does
}

// slack is how much later than its pidfile a process may seem to have begun: its
// start is known to a clock tick, and file systems date files by a coarse clock.
const slack = 2 * time.Second

// state is what the file and the kernel say. A file that is not there, or that
// names a process which began after it was written, names none of the node's.
func (k pidfile) state(ctx context.Context) (targets.State, error) {
	s := targets.State{Policy: "no"}
	if err := ctx.Err(); err != nil {
		return s, err
	}
	pid, written, err := k.read()
	if errors.Is(err, fs.ErrNotExist) {
		s.Detail = "there is no " + k.path
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := forbidden(pid); err != nil {
		return s, diag.Hint(fmt.Errorf("%s: %w", k.path, err), "see whether the pidfile is the right one")
	}
	stat, err := kernel.ReadStat(pid)
	if errors.Is(err, targets.ErrGone) || err == nil && stat.Dead() {
		s.Detail = fmt.Sprintf("pid %d of %s is dead", pid, k.path)
		return s, nil
	}
	if err != nil {
		return s, err
	}
	id := targets.ProcID{PID: stat.PID, Start: stat.Start}
	began, until, err := kernel.Began(id)
	switch {
	case errors.Is(err, targets.ErrGone):
		s.Detail = fmt.Sprintf("pid %d of %s is dead", pid, k.path)
		return s, nil
	case err != nil:
		return s, err
	case began.After(written.Add(slack)):
		s.Detail = fmt.Sprintf("%s is stale: pid %d (%s) began after it was written", k.path, pid, stat.Name)
		return s, nil
	}
	s.Running, s.Main, s.Started = true, id, until
	s.Detail = fmt.Sprintf("pid %d (%s) of %s; whether anybody restarts it is not known", pid, stat.Name, k.path)
	return s, nil
}

// errUnwritten is that of an empty pidfile: a service empties its file before it writes
// its number.
var errUnwritten = errors.New(`""`)

// read is the number in the first line, and when the file was written.
func (k pidfile) read() (pid int, written time.Time, err error) {
	f, err := os.Open(k.path)
	if err != nil {
		return 0, written, fmt.Errorf("reading the pidfile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, written, err
	case !info.Mode().IsRegular():
		return 0, written, fmt.Errorf("the pidfile %s is no regular file", k.path)
	case info.Mode().Perm()&0o002 != 0:
		return 0, written, diag.Hint(fmt.Errorf("everybody may write the pidfile %s, and have any process killed by it", k.path), "chmod o-w "+k.path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, written, fmt.Errorf("reading the pidfile: %w", err)
	}
	if len(data) == 0 {
		return 0, written, fmt.Errorf("the pidfile %s does not begin with a number: %w", k.path, errUnwritten)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, written, fmt.Errorf("the pidfile %s does not begin with a number: %q", k.path, line)
	}
	return pid, info.ModTime(), nil
}

// forbidden says why no fault may be made on the process: it is the machine's
// first, or one that we ourselves run in.
func forbidden(pid int) error {
	if pid <= 1 {
		return fmt.Errorf("pid %d is no service", pid)
	}
	for of := os.Getpid(); of > 1; {
		if of == pid {
			return fmt.Errorf("pid %d is dapple itself, or what dapple was started from", pid)
		}
		s, err := kernel.ReadStat(of)
		if err != nil {
			return fmt.Errorf("finding what dapple was started from: %w", err)
		}
		of = s.Parent
	}
	return nil
}

// members are the main process and its descendants.
func (k pidfile) members(s targets.State) ([]targets.Proc, error) {
	if !s.Running {
		return nil, nil
	}
	all, err := kernel.Procs(kernel.Filter{Keep: alive})
	if err != nil {
		return nil, err
	}
	in := map[int]bool{}
	children := map[int][]targets.Proc{}
	var procs []targets.Proc
	for _, p := range all {
		if p.ProcID == s.Main {
			procs, in[p.PID] = append(procs, p.Proc), true
		}
		children[p.Parent] = append(children[p.Parent], p.Proc)
	}
	for i := 0; i < len(procs); i++ {
		for _, c := range children[procs[i].PID] {
			if !in[c.PID] {
				procs, in[c.PID] = append(procs, c), true
			}
		}
	}
	return procs, nil
}

func alive(p kernel.Proc) bool { return p.State != "Z" && p.State != "X" }

// startWithin is how long a service may take to write its pidfile.
const startWithin = 30 * time.Second

// start runs the command in a session of its own. It may end (a daemon that leaves
// its starter) or be the service itself.
func (k pidfile) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cmd := exec.Command(k.argv[0], k.argv[1:]...)
	cmd.Dir, cmd.SysProcAttr = "/", ownSession()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := poll(ctx, func() (bool, error) {
		s, err := k.state(ctx)
		if err != nil && !errors.Is(err, errUnwritten) || s.Running {
			return s.Running, err
		}
		select {
		case err := <-ended:
			if err != nil {
				return false, fmt.Errorf("%s: %w", k.byHand(), err)
			}
		default:
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s: %s names no live process yet: %w", k.byHand(), k.path, err)
	}
	return err
}

// stop kills the main process and its descendants, until there are none.
func (k pidfile) stop(ctx context.Context, list func(context.Context) ([]targets.Proc, error)) error {
	for {
		procs, err := list(ctx)
		if err != nil || len(procs) == 0 {
			return err
		}
		if err := killAll(ctx, procs); err != nil {
			return err
		}
	}
}

func (k pidfile) byHand() string {
	words := make([]string, len(k.argv))
	for i, w := range k.argv {
		if words[i] = w; w == "" || strings.ContainsAny(w, " \t\n\"'`$&|;<>()*?[]#~!{}\\") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
