package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// A reaper is a container beside a bound cluster that removes all of the run
// when its stdin ends. We are attached to that stdin: when this process dies,
// however it dies, the engine closes it. That is the lifeline; no registry, no
// port and no process of ours on the host is needed.
//
// It is made before anything else of the run and goes last, so at no time is
// there something of a bound run without its reaper (see sweep).
type reaper struct {
	p    *place
	id   string
	line types.HijackedResponse
}

// startReaper returns once the reaper watches.
func (p *place) startReaper(ctx context.Context) (*reaper, error) {
	made, err := p.api.ContainerCreate(ctx,
		&container.Config{
			Image: p.image, Cmd: []string{"/usr/local/lib/dapple/reaper"}, User: "0",
			Env: []string{"DAPPLE_RUN=" + p.id}, Labels: p.with(partReaper, ""),
			OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		},
		&container.HostConfig{
			AutoRemove: true, NetworkMode: "none",
			Binds: []string{p.engine.Endpoint().Socket() + ":/var/run/docker.sock"},
		}, nil, nil, p.prefix+"reaper")
	if err != nil {
		return nil, fmt.Errorf("making the reaper: %w", err)
	}
	r := &reaper{p: p, id: made.ID}
	if err := r.attach(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the reaper: %w", err), r.discard(ctx))
	}
	return r, nil
}

// attach comes before the start: the reaper must not run without a lifeline.
func (r *reaper) attach(ctx context.Context) error {
	line, err := r.p.api.ContainerAttach(ctx, r.id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	if err := r.p.api.ContainerStart(ctx, r.id, container.StartOptions{}); err != nil {
		line.Close()
		return err
	}
	r.line = line
	stop := context.AfterFunc(ctx, line.Close)
	defer stop()
	out, in := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(in, in, line.Reader)
		in.CloseWithError(err) // also nil: what is read ends
	}()
	said, err := bufio.NewReader(out).ReadString('\n')
	if said == "ready\n" {
		go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the line
		return nil
	}
	rest, _ := io.ReadAll(out) // what it said, as far as it came: the error is err
	line.Close()
	return errors.Join(ctx.Err(), fmt.Errorf("it did not report ready: %q: %w", strings.TrimSpace(said+string(rest)), err))
}

// stop lets go of the lifeline and waits until the reaper has found nothing more
// to remove and is gone itself.
func (r *reaper) stop(ctx context.Context) error {
	// The word spares the reaper its second and third look. If it cannot be
	// said, the end of the line says enough.
	_, _ = io.WriteString(r.line.Conn, "done\n")
	r.line.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := r.p.api.ContainerInspect(ctx, r.id)
		if errdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for the reaper to end: %w", ctx.Err()), r.discard(ctx))
		case <-tick.C:
		}
	}
}

// discard removes a reaper that is of no use.
func (r *reaper) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := r.p.api.ContainerRemove(ctx, r.id, container.RemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("removing the reaper: %w", err)
	}
	return nil
}
