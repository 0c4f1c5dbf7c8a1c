package pause

import (
	"errors"
	"fmt"

	"github.com/dapple-drills/dapple/internal/procs"
)

// Params is what may stand under "with".
type Params struct {
	Process string `yaml:"process" json:"process,omitempty" jsonschema:"default=main,description=main (the node's main process; in a container pid 1) or all or server or manager or the name of a process."`
	Tree    bool   `yaml:"tree" json:"tree,omitempty" jsonschema:"default=yes,description=Its descendants as well; a manager's without the server."`
	How     How    `yaml:"how" json:"how,omitempty" jsonschema:"default=stop,enum=stop,enum=freezer,description=stop: SIGSTOP to the processes. freezer: the control group of the whole node, and with it every process that comes later."`
}

// defaults are the parameters of a scenario that gives none.
func defaults() Params { return Params{Process: procs.Main, Tree: true, How: Stop} }

// How says by what the processes are held.
type How string

const (
	// Stop is SIGSTOP: to single processes or trees of them.
	Stop How = "stop"
	// Freezer is the freezer of control groups, for the node as a whole.
	Freezer How = "freezer"
)

// UnmarshalText reads a How.
func (h *How) UnmarshalText(text []byte) error {
	switch How(text) {
	case Stop, Freezer:
		*h = How(text)
		return nil
	}
	return fmt.Errorf("there is no way %q to pause: use stop (SIGSTOP to processes) or freezer (the control group of the whole node)", text)
}

func (p Params) choice() procs.Choice { return procs.Choice{Process: p.Process, Tree: p.Tree} }

// check finds what cannot be together.
func (p Params) check() error {
	if err := p.choice().Check(); err != nil {
		return err
	}
	if p.How != Freezer {
		return nil
	}
	switch {
	case p.Process != procs.Main && p.Process != procs.All:
		return fmt.Errorf("how: freezer pauses the whole node, not only %s: use how: stop, or process: all", p.Process)
	case !p.Tree:
		return errors.New("how: freezer pauses every process of the node: it cannot go with tree: no; use how: stop")
	}
	return nil
}
