// Package process is the target "process": nodes that are child processes on
// this machine, for the demo and for systems that a test brings along.
//
// The children of one cluster belong to a keeper: one small process in a session
// of its own, so that the cluster neither sees the Ctrl-C that its starter gets
// nor outlives it. Three things end a cluster, whichever comes first:
//
//	Shutdown    over the keeper's socket, in the cluster's directory (0700).
//	lifeline    a pipe from the starter. However that one dies, the kernel
//	            closes the pipe; the keeper kills the members, removes the
//	            directory, and exits. A cluster that is to stay has none.
//	PDEATHSIG   and a lifeline from the keeper to each member: a keeper that is
//	            itself killed takes its members with it. Only the directory is
//	            left then; the next Start in the same place removes it.
//
// A keeper never restarts a member by itself: its policy is "no". It says what
// runs (State) and starts what is asked for (Start); signals reach a member
// through descriptors that the caller opens (Hold), never through the keeper.
//
// The package knows nothing of what the children are.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kind is the name of this target in a targets.Spec.
const Kind = "process"

// A Member is one child process, as the keeper is to start it.
type Member struct {
	Name string   `json:"name"` // the node's name; letters, digits, dot, dash and underscore
	Argv []string `json:"argv"` // the program (a path, or a name on PATH) and its arguments
	// Env is added to the keeper's own environment: KEY=VALUE.
	Env []string `json:"env,omitempty"`
	// Addresses are where the member listens, without port, as its peers use
	// them.
	Addresses []string `json:"addresses,omitempty"`
	// Log is the file in the cluster's directory that gets standard output and
	// standard error; by default NAME.log. It is appended to.
	Log string `json:"log,omitempty"`
}

// LifelineEnv is the environment variable that tells a member the number of the
// descriptor on which it can watch its keeper: reading it blocks for as long as
// the keeper lives, and then ends with EOF. A member that ignores it is killed
// by PDEATHSIG all the same.
const LifelineEnv = "DAPPLE_LIFELINE"

// config is what a keeper is told, in the file keeper.json of its directory.
type config struct {
	Members  []Member `json:"members"`
	Lifeline bool     `json:"lifeline"`
}

const (
	configFile = "keeper.json"
	socketFile = "keeper.sock"
	lockFile   = "keeper.lock"
	logFile    = "keeper.log"
)

// maxSocket is the longest path of a unix socket: sun_path less its final NUL
// (unix(7)).
const maxSocket = 107

func (c config) check() error {
	if len(c.Members) == 0 {
		return errors.New("a cluster without members: name at least one")
	}
	seen := map[string]bool{}
	for _, m := range c.Members {
		switch {
		case !validName(m.Name):
			return fmt.Errorf("member name %q: use letters, digits, dot, dash and underscore", m.Name)
		case seen[m.Name]:
			return fmt.Errorf("member name %q is there twice", m.Name)
		case len(m.Argv) == 0:
			return fmt.Errorf("member %s: no program to start", m.Name)
		case m.Log != "" && !filepath.IsLocal(m.Log):
			return fmt.Errorf("member %s: the log %q is not within the cluster's directory", m.Name, m.Log)
		}
		seen[m.Name] = true
	}
	return nil
}

func validName(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return false
		}
		return true
	}) < 0
}

func readConfig(dir string) (config, error) {
	var c config
	data, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return c, fmt.Errorf("reading what to keep: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(dir, configFile), err)
	}
	return c, c.check()
}
