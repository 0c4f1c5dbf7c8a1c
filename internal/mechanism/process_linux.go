package mechanism

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
)

// tracing stops a child by ptrace and lets it go.
func tracing(context.Context) error {
	cmd, end, err := child(nil)
	if err != nil {
		return err
	}
	kernel.Thread(func() { err = seize(cmd.Process.Pid) }) // the tracer is the thread
	if err != nil {
		err = diag.Hint(fmt.Errorf("tracing a child: %w", err), "run dapple as root (CAP_SYS_PTRACE), or sysctl kernel.yama.ptrace_scope=1")
	}
	return errors.Join(err, end())
}

func seize(pid int) error {
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		return unix.PtraceDetach(pid)
	}
}

// freezer freezes and thaws a control group without processes.
func freezer(context.Context) error {
	ms, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range ms {
		_, v1 := m.Option("freezer")
		file, frozen, thawed := "freezer.state", "FROZEN", "THAWED"
		switch {
		case m.FSType == "cgroup2":
			file, frozen, thawed = "cgroup.freeze", "1", "0"
		case m.FSType != "cgroup" || !v1:
			continue
		}
		err := freeze(m.Point, file, frozen, thawed)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no hierarchy of control groups with a freezer is mounted"))
	}
	return diag.Hint(errors.Join(errs...), "run dapple as root, on a machine with cgroup v2 (Linux 5.2), or v1 with its freezer mounted")
}

func freeze(root, file, frozen, thawed string) (err error) {
	dir, err := os.MkdirTemp(root, "dapple-doctor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	for _, word := range []string{frozen, thawed} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(word), 0); err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(data)); got != word {
			return fmt.Errorf("%s of a new group is %s, after %s was written to it", file, got, word)
		}
	}
	return nil
}
