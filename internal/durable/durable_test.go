package durable

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

var stages = []stage{created, written, synced, closed, renamed}

func TestWriteFileReplacesTheContentAndKeepsTheAskedPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"one", "two, longer", ""} {
		if err := WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != content {
			t.Errorf("content is %q, want %q", got, content)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("permissions are %v, want 0600", info.Mode().Perm())
	}
	onlyFile(t, path)
}

func TestAnErrorAtAnyStageLeavesOldOrNewContentAndNoOtherFile(t *testing.T) {
	broken := errors.New("broken here")
	for _, s := range stages {
		t.Run(string(s), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := write(path, []byte("new"), 0o600, func(at stage) error {
				if at == s {
					return broken
				}
				return nil
			})
			if !errors.Is(err, broken) {
				t.Fatalf("error is %v, want %v", err, broken)
			}
			want := "old"
			if s == renamed {
				want = "new"
			}
			if got := read(t, path); got != want {
				t.Errorf("content is %q, want %q", got, want)
			}
			onlyFile(t, path)
		})
	}
}

// The process is killed at each stage: what a crash of the machine does, less
// the loss of unsynced pages, which no test can cause from inside.
func TestAProcessKilledAtAnyStageLeavesOldOrNewContent(t *testing.T) {
	for _, s := range stages {
		t.Run(string(s), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "DURABLE_TEST_DIE_AT="+string(s), "DURABLE_TEST_PATH="+path)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("helper ended with %v, want a kill: %s", err, out)
			}
			want := "old"
			if s == renamed {
				want = "new"
			}
			if got := read(t, path); got != want {
				t.Errorf("content is %q, want %q", got, want)
			}
			for _, name := range names(t, filepath.Dir(path)) {
				if name != "f" && !IsTemp(name) {
					t.Errorf("left %s, which is not recognisable as unfinished", name)
				}
			}
		})
	}
}

func TestMain(m *testing.M) {
	if s := os.Getenv("DURABLE_TEST_DIE_AT"); s != "" {
		err := write(os.Getenv("DURABLE_TEST_PATH"), []byte("new"), 0o600, func(at stage) error {
			if at == stage(s) {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		})
		fmt.Fprintln(os.Stderr, "survived:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRemoveTwiceIsHarmless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	}
}

func TestWriteIntoAMissingDirectorySaysWhichFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "f")
	err := WriteFile(path, nil, 0o600)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestMkdirAllMakesParentsAndAcceptsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "f"), 0o700); err == nil {
		if info, err := os.Stat(filepath.Join(dir, "f")); err != nil || info.IsDir() {
			t.Errorf("the file was replaced: %v", err)
		}
		t.Error("a file in the way is no error")
	}
}

func BenchmarkWriteFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	data := make([]byte, 1024)
	for b.Loop() {
		if err := WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	if got := names(t, filepath.Dir(path)); len(got) != 1 || got[0] != filepath.Base(path) {
		t.Errorf("directory holds %q, want only %s", got, filepath.Base(path))
	}
}
