// Package traces looks at what a fault may leave behind beside dead and stopped
// processes: in the network of a node and of this machine, among its mounts and
// files, in the limits of its control groups, in the clock. Two looks are compared
// by meaning: what a system changes by itself (a container that was started again
// has another namespace; an address moves with the primary; an engine writes its
// own rules) is nothing left.
//
// It reads only, runs no program, and knows no injector. What it could not see, it
// says. What belongs to processes is looked at by package agent.
package traces

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/netlook"
	"github.com/dapple-drills/dapple/targets"
)

// A Left is a trace of a fault that is there after a drill and was not before, or
// the other way round.
type Left struct {
	What    string
	Node    string // "" if it is on this machine and on none of the nodes
	Command string // removes it
}

// A Look is what was seen of one node, or of this machine.
type Look struct {
	// Main is the process through which the node was looked at; zero if it did not
	// run, and then there is nothing below.
	Main targets.ProcID
	Net  *Net
	// Mounts are those that the node's main process sees; nil if it shares those
	// of this process.
	Mounts []mounts.Mount
	Limits map[string]Limit  // of its control groups, by the name of the file
	Groups map[string]string // control groups of dapple's below its own, by path
	Files  map[string]bool   // of dapple's names, in the places for temporary files
	Clock  *Clock            // of this machine only
	Unseen []string
}

// A Net is a network namespace and what was seen in it.
type Net struct {
	ID   uint64
	Path string // to enter it by, as long as Main lives
	// Shared says that it is that of this process: the host's, where others have
	// their own business.
	Shared bool
	netlook.State
}

// Node looks at a node by its main process. A node that does not run has no look;
// that is no error.
func Node(ctx context.Context, n targets.Node, all []targets.Proc) (l Look) {
	path := ""
	if in, ok := n.(targets.NetNS); ok {
		var err error
		if path, err = in.NetNS(ctx); err != nil && !errors.Is(err, targets.ErrGone) {
			l.unseen("its network", err)
		}
	}
	if len(all) > 0 {
		l.main(all[0].ProcID)
		if path == "" && l.Main.PID != 0 {
			path = fmt.Sprintf("/proc/%d/ns/net", l.Main.PID)
		}
	}
	if path != "" {
		l.network(path)
	}
	return l
}

// main looks at what one process of this machine has.
func (l *Look) main(id targets.ProcID) {
	if now, err := kernel.Identity(id.PID); err != nil || now != id {
		l.Unseen = append(l.Unseen, "its network, mounts and limits: its processes are none of this machine's")
		return
	}
	l.Main = id
	shared, err := sharesMounts(id)
	if err != nil {
		l.unseen("its mounts", err)
	} else if !shared {
		if l.Mounts, err = mounts.Read(fmt.Sprintf("/proc/%d/mountinfo", id.PID)); err != nil {
			l.unseen("its mounts", err)
		}
		l.files(fmt.Sprintf("/proc/%d/root", id.PID))
	}
	if err := l.groups(id); err != nil {
		l.unseen("the limits of its control groups", err)
	}
}

func (l *Look) network(path string) {
	id, err := kernel.NetNSID(path)
	if err != nil {
		l.unseen("its network", err)
		return
	}
	own, err := kernel.NetNSID("/proc/self/ns/net")
	if err == nil && own == id {
		path = "/proc/self/ns/net"
	}
	n := &Net{ID: id, Path: path, Shared: own == id}
	if n.State, err = netlook.Read(path); err != nil {
		l.unseen("its network", err)
		return
	}
	l.Net, l.Unseen = n, append(l.Unseen, n.Unseen...)
}

// unseen notes what could not be looked at, unless it went away.
func (l *Look) unseen(what string, err error) {
	if errors.Is(err, targets.ErrGone) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	l.Unseen = append(l.Unseen, fmt.Sprintf("%s: %v", what, err))
}

// Diff is what after shows and before did not, and what a fault took away. node is
// for the words alone.
func Diff(node string, before, after Look) []Left {
	d := diff{node: node, pid: after.Main.PID, same: before.Main == after.Main && before.Main.PID != 0}
	d.network(before.Net, after.Net)
	d.mounts(before.Mounts, after.Mounts)
	d.limits(before, after)
	d.files(before.Files, after.Files, after.Main)
	d.clock(before.Clock, after.Clock)
	return d.left
}

type diff struct {
	node string
	pid  int  // of the main process
	same bool // one and the same main process
	left []Left
}

func (d *diff) say(command, what string, args ...any) {
	d.left = append(d.left, Left{What: fmt.Sprintf(what, args...), Node: d.node, Command: command})
}
