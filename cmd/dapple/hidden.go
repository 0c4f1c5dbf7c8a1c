package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets/process"
	"github.com/dapple-drills/dapple/targets/testcluster/embedded"
)

// The modes in which this program runs as a child of itself. They are no
// commands: they are dispatched before the command table is made, and nobody
// types them.
const (
	modeAgent  = "agent"       // holds faults, see package agent
	modeKeeper = "keeper"      // owns the child processes of a cluster
	modeMember = "etcd-member" // one member of the embedded etcd cluster
)

// hidden runs a mode and says whether args asked for one.
func hidden(args []string) (code int, done bool) {
	if len(args) == 0 {
		return 0, false
	}
	var err error
	ctx := context.Background()
	switch args[0] {
	case modeAgent:
		err = agent.Serve(ctx, os.Stdin, os.Stdout, agentConfig(""))
	case modeKeeper:
		err = process.KeeperMain(ctx, args[1:])
	case modeMember:
		err = embedded.MemberMain(ctx, args[1:])
	default:
		return 0, false
	}
	if err != nil {
		report(os.Stderr, args[0], err)
		return 1, true
	}
	return 0, true
}

func report(w io.Writer, mode string, err error) {
	fmt.Fprintf(w, "dapple %s: %v\n", mode, err)
}
