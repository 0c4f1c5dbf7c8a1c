package process

import (
	"context"
	"encoding/json"
	"os/exec"
)

// A Housing is where the members of a keeper live: on this machine like any
// process, or in namespaces of theirs (see package netns). The name of a member
// may be "" where that is allowed: it means the keeper itself, and for Socket the
// clients.
type Housing struct {
	// Places is what others need to know to find the members, by name.
	Places map[string]json.RawMessage
	// Start starts a process where a member, or the keeper, lives. It gets the
	// signal of its PDEATHSIG when the keeper dies, and not before.
	Start func(member string, cmd *exec.Cmd) error
	// Socket makes a TCP socket there that is not connected; nil if nobody needs
	// another's help for that.
	Socket func(ctx context.Context, member string, v6 bool) (fd int, err error)
	// Close ends what is left there, when the members are dead.
	Close func(ctx context.Context) error
}

// A Builder makes the housing of the members in the cluster's directory.
type Builder func(ctx context.Context, dir string, members []string) (Housing, error)

// here is the housing without walls.
func here(context.Context, string, []string) (Housing, error) {
	s := newSpawner()
	return Housing{
		Start: func(_ string, cmd *exec.Cmd) error { return s.start(cmd) },
		Close: func(context.Context) error { return nil },
	}, nil
}
