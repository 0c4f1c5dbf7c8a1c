package diskslow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

// Plan finds the groups and the disks, and what the operator has limited himself.
func (x *slower) Plan(ctx context.Context, aim injectors.Aim) ([]injectors.Step[state], error) {
	if len(aim.On) == 0 {
		return nil, errors.New("it is aimed at no node")
	}
	var steps []injectors.Step[state]
	var errs []error
	for _, n := range aim.On {
		step, err := x.planOne(ctx, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name(), err))
			continue
		}
		steps = append(steps, step)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func (x *slower) planOne(ctx context.Context, n targets.Node) (injectors.Step[state], error) {
	none := injectors.Step[state]{}
	s := state{Path: x.p.Path}
	var err error
	if s.Group, s.Disk, err = x.disk.find(ctx, n, x.p.Path); err != nil {
		return none, err
	}
	var does, undo []string
	for _, c := range x.p.limits() {
		if c.Before, err = x.disk.get(ctx, n, s, c.Limit); err != nil {
			return none, err
		}
		if c.Before > 0 && c.Before <= c.Now {
			return none, fmt.Errorf("%s (disk %s) is limited already: %s, which is no more than the %s that are asked for; ask for less", s.Path, s.Disk.Name, c.Limit.of(c.Before), c.Limit.of(c.Now))
		}
		s.Changes = append(s.Changes, c)
		does = append(does, fmt.Sprintf("%s (before: %s)", c.Limit.of(c.Now), c.Limit.of(c.Before)))
		file, text := setting(s, c.Limit, c.Before)
		undo = append(undo, fmt.Sprintf("echo '%s' > %s/%s", text, s.Group.Dir, file))
	}
	return injectors.Step[state]{
		Node:  n,
		Does:  fmt.Sprintf("limits %s on disk %s (%s), which %s is on: %s", s.Group.Dir, s.Disk.Name, s.Disk.Number, s.Path, strings.Join(does, ", ")),
		Undo:  strings.Join(undo, "; "),
		State: s,
	}, nil
}

// v1Files are the files of cgroup v1 (kernel documentation, blkio-controller).
var v1Files = map[limit]string{
	readBytes: "blkio.throttle.read_bps_device", writeBytes: "blkio.throttle.write_bps_device",
	readOps: "blkio.throttle.read_iops_device", writeOps: "blkio.throttle.write_iops_device",
}

// setting is what is written where to set a limit; 0 takes it away.
func setting(s state, l limit, to uint64) (file, text string) {
	if !s.Group.V2 {
		return v1Files[l], fmt.Sprintf("%s %d", s.Disk.Number, to)
	}
	value := fmt.Sprint(to)
	if to == 0 {
		value = "max"
	}
	return "io.max", fmt.Sprintf("%s %s=%s", s.Disk.Number, l, value)
}

// reading finds the limit in the content of its file: "254:0 1048576" per line
// (v1), "254:0 rbps=max wbps=1048576 riops=max wiops=max" (v2). 0 is no limit.
func reading(s state, l limit, content string) (uint64, error) {
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != s.Disk.Number {
			continue
		}
		if !s.Group.V2 {
			return number(f[1])
		}
		for _, part := range f[1:] {
			if key, value, _ := strings.Cut(part, "="); key == string(l) {
				return number(value)
			}
		}
	}
	return 0, nil
}
