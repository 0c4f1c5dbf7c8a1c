package vmtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOnlyATestThatWasHeardToPassHasPassed(t *testing.T) {
	said := `=== RUN   TestGood
    x.go:1: what it says
=== RUN   TestGood/inner
--- PASS: TestGood (0.01s)
    --- PASS: TestGood/inner (0.00s)
=== RUN   TestBad
    x.go:2: got 1, want 2
--- FAIL: TestBad (0.00s)
=== RUN   TestLeft
    x.go:3: needs netem
--- SKIP: TestLeft (0.00s)
=== RUN   TestHangs
panic: test timed out
`
	want := map[string][2]string{
		"TestGood":   {"", "what it says"},
		"TestBad":    {"failed in the guest", "got 1, want 2"},
		"TestLeft":   {"skipped in the guest", "needs netem"},
		"TestHangs":  {"did not end", "panic: test timed out"},
		"TestSilent": {"did not run", ""},
	}
	got := judge(said, []string{"TestGood", "TestBad", "TestLeft", "TestHangs", "TestSilent"})
	if len(got) != len(want) {
		t.Fatalf("%d outcomes: %+v", len(got), got)
	}
	for _, x := range got {
		w := want[x.name]
		if (x.bad == "") != (w[0] == "") || !strings.Contains(x.bad, w[0]) || !strings.Contains(x.said, w[1]) {
			t.Errorf("%+v, want %q", x, w)
		}
		if strings.Contains(x.said, "=== RUN") {
			t.Errorf("%s: %q", x.name, x.said)
		}
	}
}

func TestNoTestOfThatNameIsAnError(t *testing.T) {
	for _, g := range []Guest{{Tests: []string{"TestNobodyHasThisName"}}, {}} {
		if names, err := g.tests(); err == nil {
			t.Errorf("%v: %v", g, names)
		}
	}
	names, err := Guest{Tests: []string{"TestNoTestOf"}}.tests()
	if err != nil || len(names) != 1 || names[0] != t.Name() {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestTheEmulatorsOwnFailureIsNoWordOfTheGuest(t *testing.T) {
	for code, want := range map[int]int{65: 0, 67: 1, 69: 2, 0: -1, 1: -1, 2*126 + 1: -1, 66: -1} {
		r := result{booted: time.Second}
		err := r.read(t.Context(), code, nil, "")
		if (err == nil) != (want >= 0) || err == nil && r.code != want {
			t.Errorf("%d: got %d, %v; want %d", code, r.code, err, want)
		}
	}
	r := result{}
	if err := r.read(t.Context(), 65, nil, ""); !errors.Is(err, errNotUp) {
		t.Errorf("a guest that never said it is up: %v", err)
	}
}

func TestWithoutAKernelTheReasonSaysHowToGetOne(t *testing.T) {
	state := t.TempDir()
	t.Setenv("DAPPLE_CI_STATE", state)
	if _, err := findKernel(); err == nil || !strings.Contains(err.Error(), ".ci/vm-kernel") {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(state, "vm-kernel/boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "vm-kernel/boot/vmlinuz-6.1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := findKernel(); err == nil || !strings.Contains(err.Error(), ".ci/vm-kernel") {
		t.Errorf("no modules: %v", err)
	}
}

func TestAModuleComesAfterWhatItDependsOn(t *testing.T) {
	Need(t)
	k, err := findKernel()
	if err != nil {
		t.Fatal(err)
	}
	files, err := k.order([]string{"nft-reject-inet", "nf_tables", "ext4"}) // ext4 is built in
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, f := range files {
		at[moduleName(f)] = i + 1
	}
	if len(at) != len(files) || at["nf_tables"] == 0 || at["nft_reject_inet"] < at["nf_tables"] || at["nf_tables"] < at["nfnetlink"] || at["nfnetlink"] == 0 {
		t.Errorf("got %v", files)
	}
	if _, err := k.order([]string{"no_such"}); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("a module that is not there: %v", err)
	}
}
