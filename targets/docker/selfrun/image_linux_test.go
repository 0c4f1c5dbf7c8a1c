package selfrun

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/image"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/docker"
)

// anything will do as a program that is not run: its content is its name.
func made(t *testing.T, e *docker.Engine, content string) (ref string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	sum, err := checksum(file)
	if err != nil {
		t.Fatal(err)
	}
	ref = repository + ":" + sum[:16]
	if err := load(t.Context(), e, file, ref, "test"); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestTheImageOfAnotherBuildIsRemovedOnceItIsOfNoUse(t *testing.T) {
	testenv.NeedDocker(t)
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	old, kept := made(t, e, "old "+t.TempDir()), made(t, e, "new "+t.TempDir())
	ours := func(refs ...string) func(image.Summary) bool { // those of others are not ours to remove
		return func(i image.Summary) bool {
			return slices.ContainsFunc(refs, func(r string) bool { return slices.Contains(i.RepoTags, r) })
		}
	}
	there := func(ref string) bool { _, err := e.API().ImageInspect(t.Context(), ref); return err == nil }
	if !there(old) || !there(kept) {
		t.Fatal("the images were not made")
	}
	if err := prune(t.Context(), e, ours(old)); err != nil {
		t.Fatal(err)
	}
	if there(old) || !there(kept) {
		t.Errorf("old is there: %v, new is there: %v", there(old), there(kept))
	}
	if err := prune(t.Context(), e, ours(kept)); err != nil {
		t.Fatal(err)
	}
}
