package clockskew

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/vmtest"
	"github.com/dapple-drills/dapple/targets"
)

func TestOnDebiansKernel(t *testing.T) {
	vmtest.Run(t, vmtest.Guest{Have: "root", Tests: []string{"TestTheClockOfThisMachine"}})
}

// itself is a node that is this process.
type itself struct{}

func (itself) Name() string { return "itself" }

func (itself) Exec(context.Context, ...string) ([]byte, error) { return nil, targets.ErrUnsupported }

func (itself) Processes(context.Context) ([]targets.Proc, error) {
	id, err := kernel.Self()
	return []targets.Proc{{ProcID: id, Main: true}}, err
}

func (itself) Hold(ctx context.Context, id targets.ProcID) (targets.Handle, error) {
	return kernel.Hold(ctx, id)
}

// A stamp is when the kernel says that a file was written, between two instants of
// the monotonic clock.
type stamp struct {
	lo, hi time.Time
	file   time.Time
}

func stamped(t *testing.T) (s stamp) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	s.lo = time.Now()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.hi = time.Now()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	s.file = info.ModTime()
	return s
}

// set fails the test unless the clock was set by that much since first, whatever time
// passed in between.
func (s stamp) set(t *testing.T, first stamp, want time.Duration) {
	t.Helper()
	by := s.file.Sub(first.file)
	lo, hi := by-s.hi.Sub(first.lo)-near, by-s.lo.Sub(first.hi)+near
	if want < lo || want > hi {
		t.Errorf("the clock was set by %v to %v, want %v", lo, hi, want)
	}
}

func TestTheClockOfThisMachineIsSetWrongProvenAndSetRightByAnotherWithoutLosingTime(t *testing.T) {
	vmtest.Inside(t) // never where anybody else lives
	for _, with := range []string{`{"offset": "+36h", "of": "host"}`, `{"offset": "-90m500ms", "of": "host"}`} {
		p, err := made(with)
		if err != nil {
			t.Fatal(err)
		}
		faults, err := injectors.Of(kind, newEither(p)).Plan(t.Context(), injectors.Aim{On: []targets.Node{itself{}}, HostClock: true})
		if err != nil {
			t.Fatal(err)
		}
		inj := injectors.Of(kind, newEither(p))
		first := stamped(t)
		for range 2 { // twice is once
			if err := inj.Inject(t.Context(), itself{}, faults[0]); err != nil {
				t.Fatal(err)
			}
		}
		stamped(t).set(t, first, time.Duration(p.Offset))
		held, proof, err := inj.Effect(t.Context(), itself{}, faults[0])
		if !held || err != nil {
			t.Errorf("%s: %v, %q, %v", with, held, proof, err)
		}
		t.Log(proof)
		if err := wait(t.Context(), time.Second); err != nil { // which is not to be lost
			t.Fatal(err)
		}
		data, err := json.Marshal(faults[0])
		if err != nil {
			t.Fatal(err)
		}
		var later injectors.Fault
		if err := json.Unmarshal(data, &later); err != nil {
			t.Fatal(err)
		}
		reopened := Kind().Reopen()
		for range 2 {
			if err := reopened.Revert(t.Context(), itself{}, later); err != nil {
				t.Fatal(err)
			}
		}
		stamped(t).set(t, first, 0)
		if held, proof, err := inj.Effect(t.Context(), itself{}, later); held || err != nil {
			t.Errorf("%s: it holds after its revert: %q, %v", with, proof, err)
		}
	}
}

func TestAServiceIsKnownByItsControlGroup(t *testing.T) {
	for group, want := range map[string]string{
		"/system.slice/chrony.service":                 "chrony.service",
		"/system.slice/docker-0123.scope":              "",
		"/user.slice/user-0.slice/session-1.scope":     "",
		"/docker/0123/system.slice/chrony.service":     "",
		"/system.slice/system-ntp.slice/ntp@a.service": "ntp@a.service",
		"/": "",
	} {
		if got := unitOf([]string{"/", group}); got != want {
			t.Errorf("%s is of unit %q, want %q", group, got, want)
		}
	}
}

func TestServicesAreStoppedAndStartedBySystemctlAndItsErrorsAreTold(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/said\n[ \"$2\" != bad.service ] || { echo 'no such unit' >&2; exit 5; }\n"
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	k := systemdKeepers{}
	if err := k.Stop(t.Context(), itself{}, "chrony.service"); err != nil {
		t.Error(err)
	}
	if err := k.Start(t.Context(), itself{}, "bad.service"); err == nil || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("a unit that is not there: %v", err)
	}
	if said, err := os.ReadFile(filepath.Join(dir, "said")); string(said) != "stop chrony.service\nstart bad.service\n" || err != nil {
		t.Errorf("systemctl was called with %q, %v", said, err)
	}
}
