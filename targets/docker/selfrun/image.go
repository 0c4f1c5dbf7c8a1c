package selfrun

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/targets/docker"
)

// repository is what the images of this package are called. Making a new one
// removes those of other builds: see prune.
const repository = "dapple-helper"

// Image returns the image that holds the program at binary and nothing else, and
// makes it if it is not there. It is named by the content of the program, so that
// a new build never runs an old one.
func Image(ctx context.Context, e *docker.Engine, binary, version string) (ref string, err error) {
	if err := Static(binary); err != nil {
		return "", err
	}
	sum, err := checksum(binary)
	if err != nil {
		return "", err
	}
	ref = repository + ":" + sum[:16]
	_, err = e.API().ImageInspect(ctx, ref)
	if err == nil {
		return ref, nil
	}
	if !gone(err) {
		return "", fmt.Errorf("looking for the image %s: %w", ref, err)
	}
	if err := load(ctx, e, binary, ref, version); err != nil {
		return "", fmt.Errorf("making the image %s from %s: %w", ref, binary, err)
	}
	return ref, prune(ctx, e, func(i image.Summary) bool {
		return !slices.Contains(i.RepoTags, ref) && time.Since(time.Unix(i.Created, 0)) > unused
	})
}

func gone(err error) bool { return errdefs.IsNotFound(err) }

// Static refuses a program that needs libraries: there are none in the image.
func Static(binary string) (err error) {
	f, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("reading the program %s: %w", binary, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return diag.Hint(fmt.Errorf("the program %s needs shared libraries, and an image made of it has none", binary),
				"build it with CGO_ENABLED=0 (make build), or set DAPPLE_AGENT to one of the same version that was")
		}
	}
	return nil
}

func checksum(path string) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the program: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading the program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// load imports a tar of one file.
func load(ctx context.Context, e *docker.Engine, binary, ref, version string) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, binary)) }()
	answer, err := e.API().ImageImport(ctx, image.ImportSource{Source: r, SourceName: "-"}, ref, image.ImportOptions{
		Message: "made from the program itself",
		Changes: []string{`ENTRYPOINT ["/dapple"]`, fmt.Sprintf("LABEL %s=%q", Label, version)},
	})
	if err != nil {
		return errors.Join(err, r.Close())
	}
	return errors.Join(said(answer), answer.Close(), r.Close())
}

// said reads the answer, in which an error comes after the status 200.
func said(answer io.Reader) error {
	for dec := json.NewDecoder(answer); ; {
		var m struct{ Error string }
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("reading the engine's answer: %w", err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
	}
}

func pack(w io.Writer, binary string) (err error) {
	f, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Name: "dapple", Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.Copy(t, f); err != nil {
		return err
	}
	return t.Close()
}

// unused is the age from which the image of another build is taken to be of no
// more use: a younger one may be about to be started by another dapple.
const unused = time.Hour

// prune removes the images of other builds that are of no more use. One that a
// container uses, of a drill that runs, stays: the engine refuses.
func prune(ctx context.Context, e *docker.Engine, useless func(image.Summary) bool) error {
	all, err := e.API().ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository))})
	if err != nil {
		return fmt.Errorf("listing images of helpers: %w", err)
	}
	for _, i := range all {
		if !useless(i) {
			continue
		}
		if _, err := e.API().ImageRemove(ctx, i.ID, image.RemoveOptions{}); err != nil && !errdefs.IsConflict(err) && !gone(err) {
			return fmt.Errorf("removing the image %s of another build: %w", i.ID, err)
		}
	}
	return nil
}
