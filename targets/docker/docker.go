// Package docker makes nodes of the containers of a Docker engine.
//
// It finds containers by name, label or compose project, and gives a node every
// ability that an engine on this machine allows: its processes by their real
// pids, its start and its fencing, connections from inside its network
// namespace. It makes no faults, and it never removes or creates a container:
// throw-away clusters are package testcluster's business, helpers that of package
// selfrun.
//
// It is the one package, besides those, that imports the deprecated
// github.com/docker/docker/client: see docs/adr/0010-docker-client.md.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/docker/docker/client"

	"github.com/dapple-drills/dapple/targets"
)

// Kind is the Kind of a docker node's Spec.
const Kind = "docker"

// LabelNode is the label by which a container may say what its node is called,
// where that is not the container's name.
const LabelNode = "dapple.node"

// An Engine is a connection to a Docker engine.
type Engine struct {
	api      *client.Client
	endpoint Endpoint
}

// Connect finds the engine as the docker command does (DOCKER_HOST, then
// DOCKER_CONTEXT, then the current context of ~/.docker/config.json, then the
// socket of this machine), agrees on an API version, and makes sure that it
// answers. The error says the way out.
func Connect(ctx context.Context) (*Engine, error) {
	where, err := Resolve(os.Getenv)
	if err != nil {
		return nil, err
	}
	return where.Connect(ctx)
}

// Connect connects to the engine at e.
func (e Endpoint) Connect(ctx context.Context) (*Engine, error) {
	opts, err := e.options()
	if err != nil {
		return nil, err
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker engine at %s: %w", e, err)
	}
	if _, err := api.Ping(ctx); err != nil {
		return nil, errors.Join(e.explain(err), api.Close())
	}
	return &Engine{api: api, endpoint: e}, nil
}

// Close ends the connection; nodes of the engine are of no more use.
func (e *Engine) Close() error { return e.api.Close() }

// API is the client, for package testcluster.
func (e *Engine) API() *client.Client { return e.api }

// Endpoint says where the engine is.
func (e *Engine) Endpoint() Endpoint { return e.endpoint }

// explain adds the way out to an error of the first request.
func (e Endpoint) explain(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("docker engine at %s: no permission: run with sudo, or join its group (usermod -aG docker YOU, then log in again): %w", e, err)
	case client.IsErrConnectionFailed(err), errors.As(err, &op):
		return fmt.Errorf("no Docker engine answers at %s: start it (systemctl start docker), or point DOCKER_HOST or \"docker context use\" at the one that runs: %w", e, err)
	}
	return fmt.Errorf("docker engine at %s: %w", e, err)
}

// config is what the Spec of a node keeps: all that another process needs to
// reach the same container.
type config struct {
	Container string   `json:"container"`
	Endpoint  Endpoint `json:"endpoint"`
}

// Opener opens nodes again from their Specs. Each node has a connection of its
// own; one that is of no more use costs an idle socket until the process ends.
func Opener() targets.Opener { return targets.Opener{Kind: Kind, Open: open} }

func open(ctx context.Context, s targets.Spec) (targets.Node, error) {
	var c config
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return nil, fmt.Errorf("docker node %s: its spec: %w", s.Name, err)
	}
	if c.Container == "" {
		return nil, fmt.Errorf("docker node %s: its spec names no container", s.Name)
	}
	e, err := c.Endpoint.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Node{engine: e, name: s.Name, container: c.Container}, nil
}
