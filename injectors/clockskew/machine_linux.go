package clockskew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// machineWall is the clock of this machine.
type machineWall struct{}

// Able looks for the node's processes among those of this machine, and for the
// right to set the clock, which only root of the machine itself has.
func (machineWall) Able(ctx context.Context, n targets.Node) error {
	ps, err := procs.Of(n)
	if err != nil {
		return err
	}
	all, err := ps.Processes(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("it does not run: start it first")
	}
	if now, err := kernel.Identity(all[0].PID); err != nil || now != all[0].ProcID {
		return fmt.Errorf("its processes are none of this machine's, whose clock alone could be set from here: %w", targets.ErrUnsupported)
	}
	missing, err := kernel.Missing(kernel.CapSysTime)
	if err != nil {
		return err
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("looking whether this is the machine's own user namespace: %w", err)
	}
	// user_namespaces(7): the first one maps all numbers to themselves.
	if len(missing) > 0 || strings.Join(strings.Fields(string(users)), " ") != "0 0 4294967295" {
		return diag.Hint(fmt.Errorf("the clock of this machine may be set by root of the machine alone: %w", targets.ErrUnsupported), "run dapple as root (sudo)")
	}
	return nil
}

// Offset reads REALTIME between two readings of BOOTTIME, a few times, and takes the
// closest.
func (machineWall) Offset(context.Context, targets.Node) (offset, slack time.Duration, err error) {
	slack = time.Hour
	for range 9 {
		var at [3]unix.Timespec
		for i, id := range []int32{unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME} {
			if err := unix.ClockGettime(id, &at[i]); err != nil {
				return 0, 0, fmt.Errorf("reading the clock: %w", err)
			}
		}
		if took := time.Duration(at[2].Nano() - at[0].Nano()); took < slack {
			slack, offset = took, time.Duration(at[1].Nano()-at[0].Nano())
		}
	}
	return offset, slack, nil
}

// Step is one ADJ_SETOFFSET (clock_adjtime(2)): nothing is lost between reading and
// setting.
func (machineWall) Step(_ context.Context, _ targets.Node, by time.Duration) error {
	whole := by.Truncate(time.Second)
	if whole > by {
		whole -= time.Second // the rest must not be negative
	}
	tx := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
	tx.Time.Sec, tx.Time.Usec = int64(whole/time.Second), int64(by-whole)
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &tx); err != nil {
		return fmt.Errorf("setting the clock of this machine by %v: clock_adjtime: %w", by, err)
	}
	return nil
}

// systemdKeepers are this machine's, found by their processes and held by systemd.
type systemdKeepers struct{}

// programs keep a clock; their names are as /proc shows them, 15 bytes at most.
var programs = map[string]bool{"chronyd": true, "ntpd": true, "systemd-timesyn": true, "ntpd-rs": true, "openntpd": true, "ptp4l": true, "phc2sys": true}

// Keeping finds the unit of each by its control group.
func (systemdKeepers) Keeping(context.Context, targets.Node) ([]string, error) {
	all, err := kernel.Procs(kernel.Filter{Keep: func(p kernel.Proc) bool { return programs[p.Name] && p.State != "Z" && p.State != "X" }})
	if err != nil {
		return nil, err
	}
	var units []string
	seen := map[string]bool{}
	for _, p := range all {
		unit := unitOf(p.CGroups)
		if unit == "" {
			return nil, diag.Hint(fmt.Errorf("pid %d (%s) keeps the clock and is no service of systemd's: %w", p.PID, p.Name, targets.ErrUnsupported),
				"stop it yourself before the drill, and start it after it")
		}
		if !seen[unit] {
			seen[unit], units = true, append(units, unit)
		}
	}
	if len(units) > 0 {
		if _, err := exec.LookPath("systemctl"); err != nil {
			return nil, diag.Hint(fmt.Errorf("%s keeps the clock and cannot be stopped from here: %w: %w", strings.Join(units, ", "), err, targets.ErrUnsupported), "use --agent local, as root")
		}
	}
	return units, nil
}

// unitOf is the service whose control group it is, of the system manager alone.
func unitOf(groups []string) string {
	for _, g := range groups {
		if name := path.Base(g); strings.HasPrefix(g, "/system.slice/") && strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

// Stop stops the unit; it waits until it is.
func (systemdKeepers) Stop(ctx context.Context, _ targets.Node, unit string) error {
	return systemctl(ctx, "stop", unit)
}

// Start starts the unit.
func (systemdKeepers) Start(ctx context.Context, _ targets.Node, unit string) error {
	return systemctl(ctx, "start", unit)
}

func systemctl(ctx context.Context, verb, unit string) error {
	if out, err := exec.CommandContext(ctx, "systemctl", verb, unit).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s %s: %w: %s", verb, unit, err, strings.TrimSpace(string(out)))
	}
	return nil
}
