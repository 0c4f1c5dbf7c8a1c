package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/targets"
)

// ReadStat reads /proc/PID/stat. The error wraps targets.ErrGone if there is no
// such process.
func ReadStat(pid int) (Stat, error) {
	data, err := read(procFile(pid, "stat"))
	if gone(err) {
		return Stat{}, fmt.Errorf("pid %d: %w: %w", pid, targets.ErrGone, err)
	}
	if err != nil {
		return Stat{}, err
	}
	return ParseStat([]byte(data))
}

// Identity returns the identity of the process that has the number pid now.
func Identity(pid int) (targets.ProcID, error) {
	s, err := ReadStat(pid)
	return targets.ProcID{PID: s.PID, Start: s.Start}, err
}

// Self returns the identity of this process.
func Self() (targets.ProcID, error) { return Identity(os.Getpid()) }

// Procs lists the processes that f takes, by pid. Threads of the kernel and
// what ends while we read are not listed; zombies are, with state "Z".
func Procs(f Filter) ([]Proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var procs []Proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue // not a process
		}
		p, keep, err := readProc(pid, f)
		switch {
		case gone(err):
		case err != nil:
			return nil, fmt.Errorf("listing processes: %w", err)
		case keep:
			procs = append(procs, p)
		}
	}
	slices.SortFunc(procs, func(a, b Proc) int { return a.PID - b.PID })
	return procs, nil
}

// ReadProc reads everything of one process. The error wraps targets.ErrGone if
// it is not there.
func ReadProc(pid int) (Proc, error) {
	p, _, err := readProc(pid, Filter{})
	if gone(err) {
		return Proc{}, fmt.Errorf("pid %d: %w", pid, targets.ErrGone)
	}
	return p, err
}

// pfKthread is PF_KTHREAD of linux/sched.h: "I am a kernel thread".
const pfKthread = 0x00200000

func readProc(pid int, f Filter) (p Proc, keep bool, err error) {
	groups, err := read(procFile(pid, "cgroup"))
	if err != nil {
		return p, false, err
	}
	p.CGroups = parseCGroups(groups)
	if f.CGroup != nil && !slices.ContainsFunc(p.CGroups, f.CGroup) {
		return p, false, nil
	}
	s, err := ReadStat(pid)
	if err != nil || s.Flags&pfKthread != 0 {
		return p, false, err
	}
	args, err := read(procFile(pid, "cmdline"))
	if err != nil {
		return p, false, err
	}
	status, err := readStatus(pid)
	if err != nil {
		return p, false, err
	}
	p.Proc = targets.Proc{
		ProcID: targets.ProcID{PID: pid, Start: s.Start},
		Parent: s.Parent, Name: s.Name, Args: parseArgs(args), State: string(s.State),
	}
	p.NSPID = status.NSPID
	return p, f.Keep == nil || f.Keep(p), nil
}

func readStatus(pid int) (Dispositions, error) {
	data, err := read(procFile(pid, "status"))
	if err != nil {
		return Dispositions{}, err
	}
	d, err := parseStatus(data)
	if err != nil {
		return d, fmt.Errorf("reading %s: %w", procFile(pid, "status"), err)
	}
	return d, nil
}

// Signals says what the process does with signals. The error wraps
// targets.ErrGone if it is not the process any more that it was.
func Signals(id targets.ProcID) (Dispositions, error) {
	return checked(id, func() (Dispositions, error) { return readStatus(id.PID) })
}

// Dying says whether the process is dead, or will be whatever happens: a
// SIGKILL is pending, or it is past the point of no return.
func Dying(id targets.ProcID) (bool, error) {
	d, err := checked(id, func() (bool, error) {
		status, err := readStatus(id.PID)
		if err != nil {
			return false, err
		}
		s, err := ReadStat(id.PID)
		return Has(status.Pending, int(syscall.SIGKILL)) || s.Exiting(), err
	})
	if errors.Is(err, targets.ErrGone) {
		return true, nil
	}
	return d, err
}

// Threads returns the state of each thread of the process, one letter each. The
// error wraps targets.ErrGone if it is not the process any more that it was.
func Threads(id targets.ProcID) (states string, err error) {
	return checked(id, func() (string, error) {
		tasks, err := os.ReadDir(procFile(id.PID, "task"))
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for _, t := range tasks {
			data, err := read(path.Join(procFile(id.PID, "task"), t.Name(), "stat"))
			if gone(err) {
				continue // the thread ended, not the process
			}
			if err != nil {
				return "", err
			}
			s, err := ParseStat([]byte(data))
			if err != nil {
				return "", err
			}
			b.WriteByte(s.State)
		}
		return b.String(), nil
	})
}

// Environ is the environment that the process was started with (proc(5)).
func Environ(id targets.ProcID) ([]string, error) {
	return checked(id, func() ([]string, error) {
		data, err := read(procFile(id.PID, "environ"))
		return parseArgs(data), err
	})
}

// checked reads something of the process and then makes sure that it was read
// from id: a number that was used again in between shows another start time.
func checked[T any](id targets.ProcID, look func() (T, error)) (T, error) {
	var none T
	v, err := look()
	if err != nil && !gone(err) {
		return none, err
	}
	s, later := ReadStat(id.PID)
	if gone(err) || gone(later) || later == nil && s.Start != id.Start {
		return none, fmt.Errorf("%v: %w", id, targets.ErrGone)
	}
	return v, later
}

// Frozen says whether a control group of the process is frozen: by the v1
// freezer (freezer.state) or v2 (cgroup.events).
func Frozen(pid int) (bool, error) {
	data, err := read(procFile(pid, "cgroup"))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(data) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var files []string
		switch {
		case strings.Contains(","+parts[1]+",", ",freezer,"):
			files = []string{path.Join("/sys/fs/cgroup/freezer", parts[2], "freezer.state")}
		case parts[1] == "":
			files = []string{
				path.Join("/sys/fs/cgroup", parts[2], "cgroup.events"),
				path.Join("/sys/fs/cgroup/unified", parts[2], "cgroup.events"),
			}
		}
		for _, f := range files {
			state, err := read(f)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the hierarchy is mounted elsewhere, or this is its root
			}
			if err != nil {
				return false, err
			}
			if strings.HasPrefix(state, "FROZEN") || strings.HasPrefix(state, "FREEZING") || strings.Contains(state, "frozen 1") {
				return true, nil
			}
		}
	}
	return false, nil
}

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func read(name string) (string, error) {
	data, err := os.ReadFile(name)
	return string(data), err
}

// gone says whether err means that the process ended: its directory vanished,
// or a file of it that was open says ESRCH.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
