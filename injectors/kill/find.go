package kill

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// commSize is how many bytes of a process's name the kernel keeps (proc(5)).
const commSize = 15

// find returns the processes of the node that are to get the signal, in the
// order in which they are to get it. procs has the main process first.
func (p Params) find(procs []targets.Proc, parts map[string][]string) ([]targets.Proc, error) {
	switch p.Process {
	case processMain:
		main := slices.IndexFunc(procs, func(p targets.Proc) bool { return p.Main })
		if main < 0 {
			return nil, errors.New("its main process is not to be seen")
		}
		return procs[main : main+1], nil
	case processAll:
		return procs, nil // the main one first: what it supervises is not brought back meanwhile
	}
	words, err := p.words(parts)
	if err != nil {
		return nil, err
	}
	top := tops(procs, words, p.Process)
	switch len(top) {
	case 0:
		return nil, fmt.Errorf("no process of it is called %s; there are: %s", strings.Join(words, " or "), list(procs))
	case 1:
	default:
		return nil, fmt.Errorf("%d processes of it are called %s, of which none is the others' parent: %s; name one that is there once", len(top), strings.Join(words, " or "), list(top))
	}
	if p.Process == processServer && p.Signal == "STOP" {
		// A server whose children run on is not stopped.
		return append(top, descendants(procs, top[0].PID)...), nil
	}
	return top, nil
}

// words are by what a process is known.
func (p Params) words(parts map[string][]string) ([]string, error) {
	if p.Process != processServer && p.Process != processManager {
		return []string{p.Process}, nil
	}
	words := parts[p.Process]
	if len(words) == 0 {
		return nil, fmt.Errorf("this kind of system does not say which process is its %s: give the process by its name", p.Process)
	}
	return words, nil
}

// tops are the processes that words name and that have no ancestor which they
// name as well: of a server and its workers, the server.
//
// Pid 1 of a container may be only a reaper that carries the name, or the command
// line, of the manager that it started: it does not count then.
func tops(procs []targets.Proc, words []string, part string) []targets.Proc {
	match := func(p targets.Proc) bool {
		return slices.ContainsFunc(words, func(w string) bool { return called(p, w, part) })
	}
	if part == processManager {
		if main := slices.IndexFunc(procs, func(p targets.Proc) bool { return p.Main }); main >= 0 {
			reaped := slices.ContainsFunc(procs, func(p targets.Proc) bool { return p.Parent == procs[main].PID && match(p) })
			if reaped {
				procs = slices.Delete(slices.Clone(procs), main, main+1)
			}
		}
	}
	byPID := map[int]targets.Proc{}
	for _, p := range procs {
		byPID[p.PID] = p
	}
	var top []targets.Proc
	for _, p := range procs {
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

func descendants(procs []targets.Proc, pid int) (list []targets.Proc) {
	in := map[int]bool{pid: true}
	for grew := true; grew; {
		grew = false
		for _, p := range procs {
			if in[p.Parent] && !in[p.PID] {
				in[p.PID], grew = true, true
				list = append(list, p)
			}
		}
	}
	return list
}

// called says whether word names the process: by the kernel's name of it, by its
// program, or, if an interpreter runs it, by its script. A manager is known by
// any word of its command line ("python3 -m patroni").
func called(p targets.Proc, word, part string) bool {
	if p.Name == word || len(word) > commSize && p.Name == word[:commSize] {
		return true
	}
	args := p.Args
	if part != processManager && len(args) > 0 {
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

// list names processes for people, a few of them.
func list(procs []targets.Proc) string {
	var names []string
	for i, p := range procs {
		if i == 12 {
			names = append(names, fmt.Sprintf("and %d more", len(procs)-i))
			break
		}
		names = append(names, fmt.Sprintf("%s (pid %d)", p.Name, p.PID))
	}
	return strings.Join(names, ", ")
}
