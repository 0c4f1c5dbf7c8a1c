package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/injectors"
	allinjectors "github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets/netns"
	"github.com/dapple-drills/dapple/targets/process"
)

// examineNetns makes the place of cluster:etcd-netns, as the user who asks, and tries
// in it every fault that its nodes could carry.
func examineNetns(ctx context.Context) (string, error) {
	exe, err := self()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, exe, modeTrial)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if err := process.InNamespaces(cmd.SysProcAttr); err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(text)
		}
		return "", diag.Hint(process.Explain(err), "nodes in Docker, or cluster:etcd, need no namespaces of this user")
	}
	var found []finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return "", fmt.Errorf("reading what was found in the namespaces: %w", err)
	}
	return trialSays(found), nil
}

// trialSays is what a trial found, in a line.
func trialSays(found []finding) string {
	var can, open, cannot []string
	for _, f := range found {
		switch {
		case !f.OK:
			cannot = append(cannot, fmt.Sprintf("%s (%s)", f.What, f.Says))
		case f.Says != "":
			open = append(open, f.What)
		default:
			can = append(can, f.What)
		}
	}
	says := "cluster:etcd-netns; faults: " + strings.Join(can, ", ")
	if len(open) > 0 {
		says += "; of a node alone can be told: " + strings.Join(open, ", ")
	}
	if len(cannot) > 0 {
		says += "; not: " + strings.Join(cannot, ", ")
	}
	return says
}

// trialMain is the process in the namespaces.
func trialMain(ctx context.Context, out io.Writer) error {
	if err := netns.Try(ctx); err != nil {
		return err
	}
	var found []finding
	for _, k := range allinjectors.Kinds() {
		if !k.Commands {
			found = append(found, examine(ctx, examination{what: k.Name, try: func(ctx context.Context) (string, error) { return onNetns(ctx, k) }}))
		}
	}
	return json.NewEncoder(out).Encode(found)
}

// onNetns tries a fault, or says that it cannot be tried without a node.
func onNetns(ctx context.Context, k injectors.Kind) (string, error) {
	if err := k.Carries((*netns.Node)(nil)); err != nil {
		return "", err
	}
	if k.Here == nil {
		return "not tried", nil
	}
	return "", k.Here(ctx)
}
