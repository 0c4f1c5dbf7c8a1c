package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// The flags on which an election depends, with etcd's defaults
// (server/v3/embed, NewConfig: TickMs, ElectionMs).
const (
	heartbeatFlag = "heartbeat-interval"
	electionFlag  = "election-timeout"

	defaultHeartbeat = 100 * time.Millisecond
	defaultElection  = 1000 * time.Millisecond
)

// timing is what decides how soon a dead leader is noticed.
type timing struct {
	heartbeat, election time.Duration
	source              string // where it was had from, in words
	notes               []string
}

// Settings are the members' heartbeat interval and election timeout, as their
// command lines have them, and what follows for the quorum. etcd does not tell
// them over its protocol.
func (s *System) Settings(ctx context.Context) (effective map[string]string, notes []string, err error) {
	t, err := s.timing(ctx)
	if err != nil {
		return nil, nil, err
	}
	n := len(s.all())
	return map[string]string{
		heartbeatFlag: t.heartbeat.String(),
		electionFlag:  t.election.String(),
		"members":     strconv.Itoa(n),
		"quorum":      strconv.Itoa(n/2 + 1),
	}, t.notes, nil
}

func (s *System) timing(ctx context.Context) (timing, error) {
	read, notes := s.commandLines(ctx)
	var t timing
	if len(read) > 0 {
		t = slowest(read)
	} else {
		var err error
		if t, err = declared(s.bind.Extra); err != nil {
			return t, err
		}
	}
	t.notes = append(t.notes, notes...)
	return t, nil
}

// commandLines reads the flags of the members that run where we can see them.
func (s *System) commandLines(ctx context.Context) (map[string]timing, []string) {
	read := map[string]timing{}
	var notes []string
	for _, p := range s.all() {
		n, ok := p.node.(targets.Processes)
		if !ok {
			continue
		}
		procs, err := n.Processes(ctx)
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s: its processes cannot be seen: %v", p.node.Name(), err))
			continue
		}
		for _, proc := range procs {
			if !slices.Contains(Kind.Processes.Server, proc.Name) {
				continue
			}
			t, err := parseArgs(proc.Args)
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s: %v", p.node.Name(), err))
				break
			}
			read[p.node.Name()] = t
			break
		}
	}
	return read, notes
}

// slowest is the timing that predicts for all: members may differ, though they
// should not.
func slowest(read map[string]timing) timing {
	names := slices.Sorted(maps.Keys(read))
	t := timing{source: "command line of " + strings.Join(names, ", ")}
	for i, name := range names {
		r := read[name]
		if i > 0 && (r.heartbeat != t.heartbeat || r.election != t.election) {
			t.notes = append(t.notes, fmt.Sprintf("members differ: %s has %s %v and %s %v; the longest of each is used", name, heartbeatFlag, r.heartbeat, electionFlag, r.election))
		}
		t.heartbeat, t.election = max(t.heartbeat, r.heartbeat), max(t.election, r.election)
	}
	return t
}

// declared is what the system file says, or etcd's defaults.
func declared(extra map[string]string) (timing, error) {
	t := timing{heartbeat: defaultHeartbeat, election: defaultElection, source: "etcd's defaults, assumed"}
	if extra[heartbeatFlag] == "" && extra[electionFlag] == "" {
		t.notes = []string{"the members' command lines cannot be read here and settings." + electionFlag + " is not declared: etcd's defaults are assumed (heartbeat 100ms, election 1s)"}
		return t, nil
	}
	for flag, into := range map[string]*time.Duration{heartbeatFlag: &t.heartbeat, electionFlag: &t.election} {
		if extra[flag] == "" {
			continue
		}
		d, err := time.ParseDuration(extra[flag])
		if err != nil || d <= 0 {
			return t, fmt.Errorf("settings.%s: %q is no duration: write it as 100ms or 1s", flag, extra[flag])
		}
		*into = d
	}
	t.source = "as declared under settings"
	t.notes = []string{"heartbeat and election timeout are as declared; the members' command lines cannot be read here"}
	return t, nil
}

// parseArgs reads an etcd command line: --flag=ms, --flag ms, -flag.
func parseArgs(args []string) (timing, error) {
	t := timing{heartbeat: defaultHeartbeat, election: defaultElection}
	for i, a := range args {
		flag, value, has := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") {
			continue
		}
		if !has && i+1 < len(args) {
			value = args[i+1]
		}
		var into *time.Duration
		switch flag {
		case heartbeatFlag:
			into = &t.heartbeat
		case electionFlag:
			into = &t.election
		case "config-file":
			return t, fmt.Errorf("etcd was started with --config-file, which overrides its flags: declare settings.%s and settings.%s", heartbeatFlag, electionFlag)
		default:
			continue
		}
		ms, err := strconv.ParseUint(value, 10, 31)
		if err != nil || ms == 0 {
			return t, fmt.Errorf("--%s %q is no number of milliseconds", flag, value)
		}
		*into = time.Duration(ms) * time.Millisecond
	}
	return t, nil
}
