package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BinaryEnv names the program to use as the agent where the running program is
// not dapple itself: inside "go test".
const BinaryEnv = "DAPPLE_AGENT"

const module = "github.com/dapple-drills/dapple"

// FindBinary finds a dapple of this version for Options.Argv, for a program that
// is not dapple itself: $DAPPLE_AGENT, else the dapple on PATH if it is of this
// version, else cmd/dapple built without cgo into the user's cache. The build
// runs in the present directory, so the present module decides the version.
func FindBinary(ctx context.Context, version string) (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		abs, err := filepath.Abs(path)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			return "", fmt.Errorf("finding the agent that $%s names: %w", BinaryEnv, err)
		}
		return abs, nil
	}
	if path, err := exec.LookPath("dapple"); err == nil && isVersion(ctx, path, version) {
		return filepath.Abs(path)
	}
	path, err := build(ctx, version)
	if err != nil {
		return "", fmt.Errorf("building the agent (set %s to a dapple %s to do without): %w", BinaryEnv, version, err)
	}
	return path, nil
}

// isVersion asks path; one that cannot answer is not the one that is sought.
func isVersion(ctx context.Context, path, version string) bool {
	out, err := exec.CommandContext(ctx, path, "version").Output()
	for word := range strings.FieldsSeq(string(out)) {
		if err == nil && strings.Trim(word, `",`) == version {
			return true
		}
	}
	return false
}

// build is quick when nothing changed: the go command keeps what it linked.
func build(ctx context.Context, version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dapple", "agent", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Two tests may build at once: each links a file of its own and renames it.
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	made, path := filepath.Join(tmp, "dapple"), filepath.Join(dir, "dapple")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", made, module+"/cmd/dapple")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))), os.RemoveAll(tmp))
	}
	return path, errors.Join(os.Rename(made, path), os.RemoveAll(tmp))
}
