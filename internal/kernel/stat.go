package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Stat is what we use of /proc/PID/stat (proc(5)).
type Stat struct {
	PID    int
	Name   string // comm: may hold spaces, parentheses and line breaks
	State  byte   // R, S, D, T, t, Z, X, I …
	Parent int
	Flags  uint64 // PF_* of linux/sched.h
	Start  uint64 // clock ticks since boot
}

// pfExiting is PF_EXITING of linux/sched.h: "getting shut down".
const pfExiting = 0x4

// Dead says whether nothing of the process runs any more, though its parent may
// not have asked for its exit code yet.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// Exiting says whether the process is past the point of no return.
func (s Stat) Exiting() bool { return s.Dead() || s.Flags&pfExiting != 0 }

// fields of /proc/PID/stat after the name, counted from its state (field 3).
const (
	fieldState  = 0
	fieldParent = 4 - 3
	fieldFlags  = 9 - 3
	fieldStart  = 22 - 3
)

// ParseStat reads the content of a /proc/PID/stat or /proc/PID/task/TID/stat.
//
// The name stands in parentheses and is chosen by the process itself, so it may
// hold ")" and digits: the last ")" ends it, because only numbers follow.
func ParseStat(data []byte) (Stat, error) {
	from, to := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if from < 1 || to < from {
		return Stat{}, fmt.Errorf("process status %.60q: no name in parentheses", data)
	}
	s := Stat{Name: string(data[from+1 : to])}
	rest := strings.Fields(string(data[to+1:]))
	if len(rest) <= fieldStart {
		return Stat{}, fmt.Errorf("process status %.60q: %d fields after the name, want more than %d", data, len(rest), fieldStart)
	}
	if len(rest[fieldState]) != 1 {
		return Stat{}, fmt.Errorf("process status %.60q: state %q", data, rest[fieldState])
	}
	s.State = rest[fieldState][0]
	var errs [4]error
	s.PID, errs[0] = strconv.Atoi(strings.TrimSpace(string(data[:from])))
	s.Parent, errs[1] = strconv.Atoi(rest[fieldParent])
	s.Flags, errs[2] = strconv.ParseUint(rest[fieldFlags], 10, 64)
	s.Start, errs[3] = strconv.ParseUint(rest[fieldStart], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return Stat{}, fmt.Errorf("process status %.60q: %w", data, err)
	}
	return s, nil
}

// parseCGroups reads the content of a /proc/PID/cgroup: the distinct paths.
func parseCGroups(data string) []string {
	var paths []string
	for line := range strings.Lines(data) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && !slices.Contains(paths, parts[2]) {
			paths = append(paths, parts[2])
		}
	}
	return paths
}

// parseArgs reads the content of a /proc/PID/cmdline. A process that wrote its
// own title has one argument without a terminator.
func parseArgs(data string) []string {
	data = strings.TrimRight(data, "\x00")
	if data == "" {
		return nil
	}
	return strings.Split(data, "\x00")
}

// parseStatus reads what Dispositions holds from a /proc/PID/status.
func parseStatus(data string) (Dispositions, error) {
	var d Dispositions
	var errs []error
	for line := range strings.Lines(data) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimSpace(value)
		mask := func(into *uint64) {
			n, err := strconv.ParseUint(value, 16, 64)
			errs = append(errs, err)
			*into |= n
		}
		switch key {
		case "SigPnd", "ShdPnd":
			mask(&d.Pending)
		case "SigBlk":
			mask(&d.Blocked)
		case "SigIgn":
			mask(&d.Ignored)
		case "SigCgt":
			mask(&d.Caught)
		case "NSpid":
			for word := range strings.FieldsSeq(value) {
				n, err := strconv.Atoi(word)
				errs = append(errs, err)
				d.NSPID = append(d.NSPID, n)
			}
		}
	}
	return d, errors.Join(errs...)
}
