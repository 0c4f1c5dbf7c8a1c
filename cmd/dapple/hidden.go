package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/dapple-drills/dapple/drills/selftest"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/internal/inside"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
	"github.com/dapple-drills/dapple/targets/ssh"
	"github.com/dapple-drills/dapple/targets/testcluster/embedded"
)

// The modes in which this program runs as a child of itself. They are no
// commands: they are dispatched before the command table is made, and nobody
// types them.
const (
	modeAgent  = "agent"       // holds faults, see package agent
	modeHelper = "helper"      // carries stdio to an agent in a helper container
	modeKeeper = "keeper"      // owns the child processes of a cluster
	modeHoused = "netns"       // likewise, in namespaces of theirs, see package netns
	modeVisit  = "visit"       // has the keeper of namespaces run a mode of this program there
	modeTrial  = "trial"       // says what can be done in namespaces of this user's, for the doctor
	modeMember = "etcd-member" // one member of the embedded etcd cluster
	modeRelay  = "relay"       // connects from inside of nodes, see targets/ssh
	modeInside = inside.Mode   // works in the control group of a node, see package inside

	modeSelftestAgent  = "selftest-agent"  // holds the scripted fault of a run
	modeSelftestWorker = "selftest-worker" // does one run, and may be held up
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
	case modeHelper:
		if code, err = helperMain(ctx, args[1:]); err == nil {
			return code, true
		}
	case modeRelay:
		err = relayMain(ctx)
	case modeKeeper:
		err = process.KeeperMain(ctx, args[1:])
	case modeHoused:
		err = netns.KeeperMain(ctx, args[1:])
	case modeVisit:
		if code, err = visitMain(ctx, args[1:]); err == nil {
			return code, true
		}
	case modeTrial:
		err = trialMain(ctx, os.Stdout)
	case modeInside:
		err = inside.Main(ctx, os.Stdin, os.Stdout)
	case modeSelftestAgent:
		err = selftest.AgentMain(ctx, os.Stdin, os.Stdout, args[1:])
	case modeSelftestWorker:
		err = selftest.WorkerMain(ctx, os.Stdin, os.Stdout)
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

// helperMain is the agent in a container of its own: IMAGE HOME.
func helperMain(ctx context.Context, args []string) (code int, err error) {
	if len(args) != 2 {
		return 0, errors.New("want an image and a home")
	}
	e, err := docker.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	// Signals of a terminal are for the runner; that it is gone is told by stdin.
	signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGPIPE)
	o := selfrun.Options{
		Image: args[0], Args: []string{modeAgent}, Home: args[1], Version: buildVersion(),
		Env: []string{agent.MarkEnv + "=" + os.Getenv(agent.MarkEnv)},
	}
	return selfrun.Run(ctx, e, o, selfrun.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// relayMain connects from where nodes of this machine are, for a dapple elsewhere.
func relayMain(ctx context.Context) error {
	signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGPIPE) // that nobody listens is told by stdin
	return ssh.ServeRelay(ctx, os.Stdin, os.Stdout, func(ctx context.Context, spec targets.Spec, network, addr string) (net.Conn, error) {
		n, err := agentConfig("").Open(ctx, spec)
		if err != nil {
			return nil, err
		}
		d, ok := n.(targets.Dialer)
		if !ok {
			return nil, fmt.Errorf("node %s: there is no inside to connect from: %w", spec.Name, targets.ErrUnsupported)
		}
		return d.DialContext(ctx, network, addr)
	})
}

// visitMain is this program where a keeper lives: SOCKET MODE ARG…. Its stdin, stdout
// and stderr become the other one's.
func visitMain(ctx context.Context, args []string) (code int, err error) {
	if len(args) < 2 {
		return 0, errors.New("want a keeper's socket and a mode")
	}
	exe, err := self()
	if err != nil {
		return 0, err
	}
	// As for helperMain.
	signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGPIPE)
	return process.Run(ctx, args[0], process.Running{
		Argv: append([]string{exe}, args[1:]...), Env: []string{agent.MarkEnv + "=" + os.Getenv(agent.MarkEnv)},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}

func report(w io.Writer, mode string, err error) {
	fmt.Fprintf(w, "dapple %s: %v\n", mode, err)
}
