// Package procs finds, among the processes of a node, those that a fault is for,
// and says whether they are stopped: what the faults that aim at processes have in
// common, so that one word means the same process in all of them.
//
// It reads and signals through nodes (package targets). It does not know what a
// fault is, nor which words a kind of system uses.
package procs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// The values of Choice.Process that are not the name of a process.
const (
	Main    = "main"    // the node's main process
	All     = "all"     // every process of the node
	Server  = "server"  // the process that serves, by the words of the kind of system
	Manager = "manager" // the process that supervises the server, likewise
)

// A Ref is a process by its identity, and by the name that people know. A command
// line may hold a password and is not kept.
type Ref struct {
	targets.ProcID
	Name string `json:"name"` // proc(5) comm
}

func (r Ref) String() string { return fmt.Sprintf("pid %d (%s)", r.PID, r.Name) }

// A Choice says which processes of a node are meant.
type Choice struct {
	Process string // main, all, server, manager, or the name of a process
	// Tree takes their descendants as well. A manager's do not include the server:
	// a system's manager and its server fail apart.
	Tree bool
}

// Check refuses what cannot be the name of a process.
func (c Choice) Check() error {
	if strings.TrimSpace(c.Process) == "" || strings.ContainsAny(c.Process, "/\x00") {
		return fmt.Errorf("process %q: use main, all, server, manager, or the name of a process without its path", c.Process)
	}
	return nil
}

// Of is n as a node whose processes can be seen, or an error that wraps
// targets.ErrUnsupported.
func Of(n targets.Node) (targets.Processes, error) {
	ps, ok := n.(targets.Processes)
	if !ok {
		return nil, fmt.Errorf("the processes of node %s cannot be seen from here: %w", n.Name(), targets.ErrUnsupported)
	}
	return ps, nil
}

// Find returns the processes of the node that are meant, parents before their
// children. all has the main process first; parts is injectors.Aim.Processes.
func (c Choice) Find(all []targets.Proc, parts map[string][]string) ([]targets.Proc, error) {
	if c.Process == All {
		return all, nil // the main one first: what it supervises is not brought back meanwhile
	}
	top, err := c.top(all, parts)
	if err != nil || !c.Tree {
		return top, err
	}
	return Tree(all, top, c.Apart(all, parts)), nil
}

// Apart are processes that Tree leaves out of the choice: the server, of a manager.
func (c Choice) Apart(all []targets.Proc, parts map[string][]string) (ids []targets.ProcID) {
	words := parts[Server]
	if c.Process != Manager || !c.Tree || len(words) == 0 {
		return nil
	}
	for _, p := range Tops(all, words, Server) {
		ids = append(ids, p.ProcID)
	}
	return ids
}

// top is the one process that is meant by itself.
func (c Choice) top(all []targets.Proc, parts map[string][]string) ([]targets.Proc, error) {
	if c.Process == Main {
		main := slices.IndexFunc(all, func(p targets.Proc) bool { return p.Main })
		if main < 0 {
			return nil, errors.New("its main process is not to be seen")
		}
		return all[main : main+1], nil
	}
	words, err := c.Words(parts)
	if err != nil {
		return nil, err
	}
	top := Tops(all, words, c.Process)
	switch len(top) {
	case 0:
		return nil, fmt.Errorf("no process of it is called %s; there are: %s", strings.Join(words, " or "), List(all))
	case 1:
		return top, nil
	}
	return nil, fmt.Errorf("%d processes of it are called %s, of which none is the others' parent: %s; name one that is there once", len(top), strings.Join(words, " or "), List(top))
}

// Words are by what the process is known.
func (c Choice) Words(parts map[string][]string) ([]string, error) {
	if c.Process != Server && c.Process != Manager {
		return []string{c.Process}, nil
	}
	words := parts[c.Process]
	if len(words) == 0 {
		return nil, fmt.Errorf("this kind of system does not say which process is its %s: give the process by its name", c.Process)
	}
	return words, nil
}

// Tops are the processes that words name and that have no ancestor which they
// name as well: of a server and its workers, the server. part is Choice.Process.
//
// Pid 1 of a container may be only a reaper that carries the name, or the command
// line, of the manager that it started: it does not count then.
func Tops(all []targets.Proc, words []string, part string) []targets.Proc {
	match := func(p targets.Proc) bool {
		return slices.ContainsFunc(words, func(w string) bool { return called(p, w, part) })
	}
	if part == Manager {
		if main := slices.IndexFunc(all, func(p targets.Proc) bool { return p.Main }); main >= 0 {
			reaped := slices.ContainsFunc(all, func(p targets.Proc) bool { return p.Parent == all[main].PID && match(p) })
			if reaped {
				all = slices.Delete(slices.Clone(all), main, main+1)
			}
		}
	}
	byPID := map[int]targets.Proc{}
	for _, p := range all {
		byPID[p.PID] = p
	}
	var top []targets.Proc
	for _, p := range all {
		if match(p) && !slices.ContainsFunc(ancestors(byPID, p), match) {
			top = append(top, p)
		}
	}
	return top
}

func ancestors(byPID map[int]targets.Proc, p targets.Proc) (list []targets.Proc) {
	self := p.PID
	for len(list) <= len(byPID) { // a list that was read while processes came and went may hold a circle
		parent, ok := byPID[p.Parent]
		if !ok || parent.PID == self {
			break
		}
		list, p = append(list, parent), parent
	}
	return list
}

// Tree are the roots that are in all, and their descendants there, parents before
// their children; without those of apart that are no roots, and their descendants.
func Tree(all, roots []targets.Proc, apart []targets.ProcID) (list []targets.Proc) {
	in := map[int]bool{}
	for _, r := range roots {
		i := slices.IndexFunc(all, func(p targets.Proc) bool { return p.ProcID == r.ProcID })
		if i >= 0 && !in[r.PID] {
			in[r.PID] = true
			list = append(list, all[i])
		}
	}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if in[p.Parent] && !in[p.PID] && !slices.Contains(apart, p.ProcID) {
				in[p.PID], grew = true, true
				list = append(list, p)
			}
		}
	}
	return list
}

// commSize is how many bytes of a process's name the kernel keeps (proc(5)).
const commSize = 15

// called says whether word names the process: by the kernel's name of it, by its
// program, or, if an interpreter runs it, by its script. A manager is known by
// any word of its command line ("python3 -m patroni").
func called(p targets.Proc, word, part string) bool {
	if p.Name == word || len(word) > commSize && p.Name == word[:commSize] {
		return true
	}
	args := p.Args
	if part != Manager && len(args) > 0 {
		known := 1
		if len(args) > 1 && slices.ContainsFunc(interpreters, func(i string) bool { return strings.HasPrefix(path.Base(args[0]), i) }) {
			known = 2
		}
		args = args[:known]
	}
	return slices.ContainsFunc(args, func(a string) bool { return path.Base(a) == word })
}

// interpreters run the script that is their first argument; their names may be
// followed by a version.
var interpreters = []string{"python", "perl", "ruby", "node", "bash", "dash", "sh"}

// List names processes for people, a few of them.
func List(all []targets.Proc) string {
	var names []string
	for i, p := range all {
		if i == 12 {
			names = append(names, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		names = append(names, fmt.Sprintf("%s (pid %d)", p.Name, p.PID))
	}
	return strings.Join(names, ", ")
}

// Names names processes for people, a few of them.
func Names(refs []Ref) string {
	all := make([]targets.Proc, len(refs))
	for i, r := range refs {
		all[i] = targets.Proc{ProcID: r.ProcID, Name: r.Name}
	}
	return List(all)
}

// Threads are the states of the threads of p, one letter of proc(5) each, or the
// state of p itself if it is none of this machine's.
func Threads(p targets.Proc) (string, error) {
	states, err := kernel.Threads(p.ProcID)
	if errors.Is(err, targets.ErrGone) || errors.Is(err, targets.ErrUnsupported) {
		return p.State, nil
	}
	return states, err
}

// Reachable finds out whether a signal would arrive at the process. The error
// wraps targets.ErrUnsupported where that is a matter of permission.
func Reachable(ctx context.Context, ps targets.Processes, p targets.Proc) error {
	h, err := ps.Hold(ctx, p.ProcID)
	if err != nil {
		return fmt.Errorf("pid %d (%s): %w", p.PID, p.Name, err)
	}
	err = errors.Join(h.Signal(0), h.Close())
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("pid %d (%s) belongs to another user: run dapple as root (sudo), or let it use its helper container: %w: %w", p.PID, p.Name, targets.ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("pid %d (%s): %w", p.PID, p.Name, err)
	}
	return nil
}

// Dead says whether the process is dead at this moment.
func Dead(ctx context.Context, ps targets.Processes, id targets.ProcID) (bool, error) {
	h, err := ps.Hold(ctx, id)
	if errors.Is(err, targets.ErrGone) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	now, cancel := context.WithCancel(ctx)
	cancel() // a Handle tells the dead from the living without waiting
	err = h.Exited(now)
	if errors.Is(err, context.Canceled) {
		return false, errors.Join(ctx.Err(), h.Close())
	}
	return err == nil, errors.Join(err, h.Close())
}
