package testcluster

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/gofrs/flock"
)

// baseImage is what our Dockerfile begins with.
const baseImage = "debian:trixie-slim"

//go:embed image
var patroniFiles embed.FS

//go:embed redis image/reaper
var redisFiles embed.FS

// A recipe is what an image is built from: a Dockerfile, and the scripts that it
// copies. Each has the reaper.
type recipe struct {
	name  string // patroni
	files fs.FS
}

// ensureImage returns the name of the image of that recipe, from which all parts
// of a cluster are made, and builds it if it is not there. Its tag is a hash of
// what it is built from, so that another version of this program builds its own.
func ensureImage(ctx context.Context, api *client.Client, r recipe, o Options) (string, error) {
	archive, tag, err := buildContext(r.files)
	if err != nil {
		return "", err
	}
	name := "dapple/" + r.name + ":" + tag
	if ok, err := haveImage(ctx, api, name); ok || err != nil {
		return name, err
	}
	// Another dapple on this machine may be at it.
	unlock, err := lock(ctx, filepath.Join(o.Dir, "image.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if ok, err := haveImage(ctx, api, name); ok || err != nil {
		return name, err
	}
	if err := ensureBase(ctx, api, o); err != nil {
		return "", err
	}
	o.Progress("building the image " + name + " from Debian's packages (once; about a minute)")
	if err := buildImage(ctx, api, r, archive, name); err != nil {
		return "", fmt.Errorf("building the image %s: %w", name, err)
	}
	return name, nil
}

func haveImage(ctx context.Context, api *client.Client, name string) (bool, error) {
	_, err := api.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the image %s: %w", name, err)
	}
	return true, nil
}

// lock waits for the file lock at path.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	l := flock.New(path)
	if _, err := l.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("waiting for the lock %s: %w", path, err)
	}
	return func() { _ = l.Unlock() }, nil // the lock also ends with this process
}

// buildContext is the embedded files, whatever their folders, as a tar archive
// without times or owners, and a hash of it.
func buildContext(files fs.FS) (archive []byte, tag string, err error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err = fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		mode := int64(0o755) // scripts; what is embedded has no mode
		if path.Base(p) == "Dockerfile" {
			mode = 0o644
		}
		if err := w.WriteHeader(&tar.Header{Name: path.Base(p), Mode: mode, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, "", fmt.Errorf("packing the image's files: %w", err)
	}
	sum := sha256.Sum256(buf.Bytes())
	return buf.Bytes(), hex.EncodeToString(sum[:6]), nil
}

// buildImage builds with the network of the host, as "docker build
// --network=host" does, by the engine's own builder, which every engine has.
func buildImage(ctx context.Context, api *client.Client, r recipe, archive []byte, name string) error {
	resp, err := api.ImageBuild(ctx, bytes.NewReader(archive), build.ImageBuildOptions{
		Tags: []string{name}, NetworkMode: "host", Remove: true, ForceRemove: true,
		Labels: map[string]string{LabelImage: r.name}, Version: build.BuilderV1,
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readBuild(resp.Body)
}

// readBuild reads the engine's stream of messages until the build is done. An
// error comes with the last lines that the build wrote.
func readBuild(stream io.Reader) error {
	var tail []string
	dec := json.NewDecoder(bufio.NewReader(stream))
	for {
		var m struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the engine's answer: %w", err)
		}
		if m.Error != "" {
			return fmt.Errorf("%s; it wrote last: %s", m.Error, strings.Join(tail, " | "))
		}
		if line := strings.TrimSpace(m.Stream); line != "" {
			tail = append(tail, line)
			tail = tail[max(0, len(tail)-8):]
		}
	}
}

// ensureBase makes the base image be there: found, else pulled, else made of
// Debian's packages where that is possible.
func ensureBase(ctx context.Context, api *client.Client, o Options) error {
	if ok, err := haveImage(ctx, api, baseImage); ok || err != nil {
		return err
	}
	o.Progress("pulling the image " + baseImage)
	pulled := pull(ctx, api, baseImage)
	if pulled == nil || ctx.Err() != nil {
		return errors.Join(pulled, ctx.Err())
	}
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("the image %s is not here and cannot be pulled: pull it where a registry can be reached and \"docker load\" it, or run as root on Debian with mmdebstrap installed (.ci/base-image does all of it): %w", baseImage, pulled)
	}
	o.Progress("no registry can be reached: making the image " + baseImage + " with mmdebstrap (20 s)")
	if err := bootstrap(ctx, api, tool); err != nil {
		return fmt.Errorf("making the image %s with mmdebstrap: %w", baseImage, err)
	}
	return nil
}

func pull(ctx context.Context, api *client.Client, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	r, err := api.ImagePull(ctx, name, image.PullOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	return readBuild(r)
}

// bootstrap pipes a minimal Debian from mmdebstrap into the engine.
func bootstrap(ctx context.Context, api *client.Client, tool string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "--quiet", "--variant=minbase", "--include=ca-certificates",
		"--aptopt=Acquire::Check-Valid-Until \"false\"", "trixie", "-")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	resp, err := api.ImageImport(ctx, image.ImportSource{Source: out, SourceName: "-"}, baseImage,
		image.ImportOptions{Changes: []string{`CMD ["/bin/bash"]`}})
	if err == nil {
		err = errors.Join(readBuild(resp), resp.Close())
	} else {
		cancel() // nobody reads the pipe
	}
	if waitErr := cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("%w: %s", waitErr, strings.TrimSpace(said.String())))
	}
	if err != nil {
		// Half a Debian under the name of a whole one would break every build.
		_, removeErr := api.ImageRemove(context.WithoutCancel(ctx), baseImage, image.RemoveOptions{})
		if !errdefs.IsNotFound(removeErr) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}
