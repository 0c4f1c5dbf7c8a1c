package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A systemd is a unit of this machine's system manager.
type systemd struct {
	unit string
	// ctl runs systemctl.
	ctl func(ctx context.Context, argv ...string) ([]byte, error)
}

// manages says why systemd is not the system manager here (sd_booted(3)).
func manages() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return diag.Hint(fmt.Errorf("systemd is not this machine's system manager: %w: %w", targets.ErrUnsupported, err), "name the node by its pidfile")
	}
	return nil
}

func systemctl(ctx context.Context, argv ...string) ([]byte, error) {
	if err := manages(); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil, fmt.Errorf("%w: %w", targets.ErrUnsupported, err)
	}
	return run(ctx, append([]string{"systemctl", "--no-pager", "--no-ask-password"}, argv...)...)
}

// Doctor says what of this target works here.
func Doctor(ctx context.Context) (says string, err error) {
	out, err := systemctl(ctx, "show", "--property=Version")
	if err != nil {
		return "", err
	}
	return "systemd " + strings.TrimPrefix(strings.TrimSpace(string(out)), "Version="), nil
}

// properties are what is asked of a unit: names of org.freedesktop.systemd1(5).
const properties = "LoadState,ActiveState,SubState,Result,MainPID,ControlGroup,Restart,NRestarts,ActiveEnterTimestamp,InactiveEnterTimestamp"

// status is what systemctl show says of a unit.
type status struct {
	load, active, sub, result, group, restart string
	main, restarts                            int
	up, down                                  time.Time
}

// parseStatus reads NAME=VALUE lines. A name that is not there is an older
// systemd's that does not know it.
func parseStatus(data []byte) (status, error) {
	v := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
			v[name] = value
		}
	}
	s := status{
		load: v["LoadState"], active: v["ActiveState"], sub: v["SubState"], result: v["Result"],
		group: v["ControlGroup"], restart: v["Restart"], up: instant(v["ActiveEnterTimestamp"]), down: instant(v["InactiveEnterTimestamp"]),
	}
	if s.load == "" || s.active == "" {
		return s, fmt.Errorf("systemctl show says neither LoadState nor ActiveState: %q", data)
	}
	var errs [2]error
	s.main, errs[0] = number(v["MainPID"])
	s.restarts, errs[1] = number(v["NRestarts"])
	return s, errors.Join(errs[:]...)
}

func number(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.Atoi(text)
}

// instant reads "Wed 2026-11-25 22:03:17 UTC"; zero where there is none. It is
// evidence alone, so that one in an unknown zone does no harm.
func instant(text string) time.Time {
	t, err := time.Parse("Mon 2006-01-02 15:04:05 MST", text)
	if err != nil {
		return time.Time{}
	}
	return t
}

func (k systemd) show(ctx context.Context) (status, error) {
	out, err := k.ctl(ctx, "show", "--property="+properties, "--", k.unit)
	if err != nil {
		return status{}, err
	}
	s, err := parseStatus(out)
	switch {
	case err != nil:
		return s, fmt.Errorf("unit %s: %w", k.unit, err)
	case s.load != "loaded":
		return s, diag.Hint(fmt.Errorf("unit %s: systemd says %s", k.unit, s.load), "see: systemctl list-units --type=service")
	case s.active == "active" && s.main == 0:
		return s, diag.Hint(fmt.Errorf("unit %s is active and has no main process: %w", k.unit, targets.ErrUnsupported),
			"if it only groups others (postgresql.service), name the one that runs (postgresql@15-main.service)")
	}
	return s, nil
}

// state is what systemd says. Main is zero unless the process is the unit's.
func (k systemd) state(ctx context.Context) (targets.State, error) {
	s, err := k.show(ctx)
	if err != nil {
		return targets.State{}, err
	}
	out := targets.State{
		Restarts: s.restarts, Policy: s.restart, Started: s.up, Finished: s.down,
		Detail: fmt.Sprintf("unit %s is %s (%s), result %s, Restart=%s", k.unit, s.active, s.sub, s.result, s.restart),
	}
	if s.main == 0 {
		return out, nil
	}
	p, err := kernel.ReadProc(s.main)
	switch {
	case errors.Is(err, targets.ErrGone), err == nil && !alive(p):
		return out, nil // systemd is about to notice
	case err != nil:
		return out, err
	case !s.owns(p.CGroups):
		return out, fmt.Errorf("pid %d, the main process of %s, is in control group %s here, not in %s: another pid namespace: %w",
			s.main, k.unit, strings.Join(p.CGroups, ", "), s.group, targets.ErrUnsupported)
	}
	if err := forbidden(s.main); err != nil {
		return out, diag.Hint(fmt.Errorf("unit %s: %w", k.unit, err), "a drill of the service that carries dapple would cut it off: run dapple elsewhere")
	}
	out.Running, out.Main = true, p.ProcID
	return out, nil
}

func (s status) owns(groups []string) bool {
	for _, g := range groups {
		if inGroup(g, s.group) {
			return true
		}
	}
	return false
}

// inGroup says whether path is group or below it. No group holds nothing.
func inGroup(path, group string) bool {
	return group != "" && group != "/" && (path == group || strings.HasPrefix(path, group+"/"))
}

// members are the processes of the unit's control group. They are those of the
// main process: its control group is the unit's, whatever systemd calls it.
func (k systemd) members(s targets.State) ([]targets.Proc, error) {
	if !s.Running {
		return nil, nil
	}
	out, err := kernel.ReadProc(s.Main.PID)
	if errors.Is(err, targets.ErrGone) || err == nil && out.ProcID != s.Main {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	group := k.group(out.CGroups)
	all, err := kernel.Procs(kernel.Filter{Keep: alive, CGroup: func(path string) bool { return inGroup(path, group) }})
	if err != nil {
		return nil, err
	}
	procs := make([]targets.Proc, len(all))
	for i, p := range all {
		procs[i] = p.Proc
	}
	return procs, nil
}

// group is the part of a process's control group that ends with the unit's name:
// the service itself may have groups of its own below.
func (k systemd) group(paths []string) string {
	for _, p := range paths {
		if before, _, ok := strings.Cut(p+"/", "/"+k.unit+"/"); ok {
			return before + "/" + k.unit
		}
	}
	return ""
}

// start starts the unit, also if it failed too often to be started (StartLimit…).
func (k systemd) start(ctx context.Context) error {
	s, err := k.show(ctx)
	if err != nil {
		return err
	}
	if s.active == "failed" {
		if _, err := k.ctl(ctx, "reset-failed", "--", k.unit); err != nil {
			return err
		}
	}
	_, err = k.ctl(ctx, "start", "--", k.unit)
	return err
}

// stop kills all processes, and has systemd stop the unit before Restart= brings
// them back: what comes back all the same is killed too. A plain stop would ask
// them to end in peace.
func (k systemd) stop(ctx context.Context, list func(context.Context) ([]targets.Proc, error)) error {
	procs, err := list(ctx)
	if err != nil {
		return err
	}
	if err := killAll(ctx, procs); err != nil {
		return err
	}
	if _, err := k.ctl(ctx, "stop", "--no-block", "--", k.unit); err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		procs, err := list(ctx)
		if err != nil {
			return false, err
		}
		if err := killAll(ctx, procs); err != nil {
			return false, err
		}
		s, err := k.show(ctx)
		return s.active == "inactive" || s.active == "failed", err
	})
}

func (k systemd) byHand() string { return "systemctl start " + k.unit }
