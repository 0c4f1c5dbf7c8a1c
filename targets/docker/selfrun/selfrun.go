// Package selfrun runs this program in a container of a Docker engine, beside the
// nodes, with the rights that the person who started it lacks: whoever may speak
// to the engine may have a container with rights, and nobody has to be root.
//
// The image is made from the program's own binary, and nothing is pulled. The
// container sees the processes, the network and the control groups of the
// machine, has the few capabilities that faults need and no more (it is not
// privileged), and is removed by the engine when the program in it ends. Its
// stdin ends with the process that started it, however that dies; what the
// program does then is its own affair.
//
// The package knows no fault and no agent. A machine elsewhere is not reached by
// it: the engine must be this machine's.
package selfrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/dapple-drills/dapple/targets/docker"
)

// Label is on every container and image of this package. Its value is the
// version of the program.
const Label = "dapple.helper"

// Capabilities are what a helper container has, besides none (capabilities(7)).
//
//	SYS_ADMIN        enter namespaces, thaw and limit control groups, BPF
//	NET_ADMIN        nftables, traffic control, ending connections
//	NET_RAW          look at a cut from inside of a node
//	SYS_CHROOT       enter mount namespaces, which takes it besides SYS_ADMIN
//	SYS_PTRACE       /proc/PID/{root,ns,environ} of others; hold a process
//	KILL             signals to processes of others
//	SYS_TIME         the machine's clock
//	DAC_OVERRIDE     the journal in the home of a person; files of any node
//	DAC_READ_SEARCH  likewise, and the roots of processes
//	CHOWN            what is written there stays that person's
//
// SYS_RESOURCE is not among them: many engines have not got it to give.
func Capabilities() []string {
	return []string{"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_CHROOT", "SYS_PTRACE", "KILL", "SYS_TIME", "DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN"}
}

// Options say what runs in the container.
type Options struct {
	Image   string   // from Image
	Args    []string // after the program's name
	Env     []string
	Home    string // a directory of this machine, seen under the same path
	Version string
}

// Stdio is what the program in the container reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs the program until it ends and returns its exit code. When in ends, or
// this process dies, or ctx ends, the program's stdin ends.
func Run(ctx context.Context, e *docker.Engine, o Options, stdio Stdio) (code int, err error) {
	if err := sweep(ctx, e); err != nil {
		return 0, err
	}
	id, err := create(ctx, e, o)
	if err != nil {
		return 0, err
	}
	code, started, err := run(ctx, e, id, stdio)
	if err != nil && !started {
		// The engine removes by itself only what has run.
		if rerr := e.API().ContainerRemove(context.WithoutCancel(ctx), id, container.RemoveOptions{Force: true}); !gone(rerr) {
			err = errors.Join(err, rerr)
		}
	}
	if err != nil {
		return code, fmt.Errorf("helper container: %w", err)
	}
	return code, nil
}

func create(ctx context.Context, e *docker.Engine, o Options) (id string, err error) {
	mounts := []mount.Mount{
		bind(o.Home, false), bind(e.Endpoint().Socket(), false), bind("/sys/fs/cgroup", false),
	}
	c, err := e.API().ContainerCreate(ctx,
		&container.Config{
			Image: o.Image, Cmd: o.Args, Env: o.Env,
			OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
			Labels: map[string]string{Label: o.Version},
		},
		&container.HostConfig{
			AutoRemove: true,
			PidMode:    "host", NetworkMode: "host", UsernsMode: "host", CgroupnsMode: "host",
			CapDrop: []string{"ALL"}, CapAdd: Capabilities(),
			// The profiles of AppArmor and SELinux for containers forbid what the
			// capabilities are for: to look at processes outside of the container.
			SecurityOpt:    []string{"apparmor=unconfined", "label=disable", "no-new-privileges"},
			Mounts:         mounts,
			ReadonlyRootfs: true,
			// What passes through it is not to be kept in a log.
			LogConfig: container.LogConfig{Type: "none"},
		}, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("making the helper container: %w", err)
	}
	return c.ID, nil
}

func bind(path string, readOnly bool) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: path, Target: path, ReadOnly: readOnly}
}

// run starts the container and carries its stdio. started says that it ran, and
// that the engine removes it.
func run(ctx context.Context, e *docker.Engine, id string, stdio Stdio) (code int, started bool, err error) {
	api := e.API()
	line, err := api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, false, fmt.Errorf("attaching to it: %w", err)
	}
	defer line.Close()
	// Before the start: the engine forgets the exit code with the container.
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended, failed := api.ContainerWait(waiting, id, container.WaitConditionNextExit)
	if err := api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return 0, false, fmt.Errorf("starting it: %w", explain(err))
	}
	stop := context.AfterFunc(ctx, func() { _ = line.CloseWrite() }) // fails if it has ended, which is as well
	defer stop()
	go func() {
		// A broken line is seen by the reader below.
		_, _ = io.Copy(line.Conn, stdio.In)
		_ = line.CloseWrite()
	}()
	if _, err := stdcopy.StdCopy(stdio.Out, stdio.Err, line.Reader); err != nil {
		return 0, true, fmt.Errorf("reading its output: %w", err)
	}
	select {
	case r := <-ended:
		return int(r.StatusCode), true, nil
	case err := <-failed:
		return 0, true, fmt.Errorf("waiting for its end: %w", err)
	case <-time.After(removal):
		return 0, true, fmt.Errorf("it said no more and did not end within %v", removal)
	}
}

// removal is how long a container whose program has ended may take to be known to
// have.
const removal = 30 * time.Second

// explain adds the way out where the engine may not give what is asked for.
func explain(err error) error {
	if s := err.Error(); strings.Contains(s, "capabilit") || strings.Contains(s, "operation not permitted") {
		return fmt.Errorf("%w: the engine itself may not give the capabilities %s (is it rootless, or in a container?): run dapple as root on the engine's machine", err, strings.Join(Capabilities(), ", "))
	}
	return err
}

// sweep removes containers that were made and never started, because the one who
// made them died in between: the engine removes only what has run. A young one
// may just be being started.
func sweep(ctx context.Context, e *docker.Engine) error {
	all, err := e.API().ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", Label), filters.Arg("status", "created"))})
	if err != nil {
		return fmt.Errorf("listing helper containers: %w", err)
	}
	for _, c := range all {
		if time.Since(time.Unix(c.Created, 0)) < young {
			continue
		}
		if err := e.API().ContainerRemove(ctx, c.ID, container.RemoveOptions{}); err != nil && !gone(err) {
			return fmt.Errorf("removing a helper container that never ran: %w", err)
		}
	}
	return nil
}

// young is the age up to which a container may just be being started.
const young = time.Minute

// Usable says whether a helper container of this engine would see this machine.
func Usable(e *docker.Engine) error {
	where := e.Endpoint()
	if !strings.HasPrefix(where.Host, "unix://") {
		return fmt.Errorf("the Docker engine at %s is not this machine's: no helper container of it could reach this process", where)
	}
	return nil
}
