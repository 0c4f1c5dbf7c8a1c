package kill

import (
	"github.com/dapple-drills/dapple/internal/procs"
	"github.com/dapple-drills/dapple/targets"
)

// choice says which processes get the signal. A server whose children run on is
// not stopped, so a stop goes to all of them.
func (p Params) choice() procs.Choice {
	return procs.Choice{Process: p.Process, Tree: p.Process == procs.Server && p.Signal == "STOP"}
}

// find returns the processes of the node that are to get the signal, in the
// order in which they are to get it. all has the main process first.
func (p Params) find(all []targets.Proc, parts map[string][]string) ([]targets.Proc, error) {
	return p.choice().Find(all, parts)
}

func tops(all []targets.Proc, words []string, part string) []targets.Proc {
	return procs.Tops(all, words, part)
}
