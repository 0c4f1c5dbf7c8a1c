//go:build unix

package trust

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapple-drills/dapple/internal/testenv"
)

func judge(t *testing.T, path string) error {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return File(path, info)
}

func file(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFileOfMineIsTrustedUnlessEverybodyMayWriteIt(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o644, 0o664, 0o755} {
		if err := judge(t, file(t, mode)); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o666, 0o602, 0o777} {
		if err := judge(t, file(t, mode)); !errors.Is(err, ErrForeign) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestWhatIsNoRegularFileIsNotTrusted(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir()} {
		if err := judge(t, path); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileOfAnotherUserIsNotTrusted(t *testing.T) {
	testenv.NeedRoot(t)
	t.Setenv("SUDO_UID", "")
	const stranger = 54321
	path := file(t, 0o644)
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	if err := judge(t, path); !errors.Is(err, ErrForeign) {
		t.Errorf("%v", err)
	}
	t.Setenv("SUDO_UID", "54321") // it is his who became root by sudo
	if err := judge(t, path); err != nil {
		t.Errorf("%v", err)
	}
}
