package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// built is the program as a user has it. The tests drill real systems with it:
// a test binary with the race detector in it would be measured, not dapple.
var built = sync.OnceValues(func() (dir string, err error) {
	dir = os.Getenv(binEnv)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "dapple"), ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	service := exec.Command("go", "build", "-o", filepath.Join(dir, "notes"), "../../probes/http/testdata/notes")
	if out, err := service.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build the service of kind http: %w\n%s", err, out)
	}
	return dir, nil
})

// binEnv says where the program is built to.
const binEnv = "DAPPLE_TEST_BIN"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dapple-test-")
	if err == nil {
		err = os.Setenv(binEnv, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// inTurn runs scripts one after the other: two drills of real systems must not
// share the machine that measures them.
type inTurn struct{ *testing.T }

// Parallel is what testscript asks for each script.
func (inTurn) Parallel() {}

// Run is that of testing.T, for a script.
func (t inTurn) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(inTurn{t}) })
}

// Verbose says that the whole script is to be told.
func (inTurn) Verbose() bool { return testing.Verbose() }

// TestCommands runs the scripts in testdata/script: each says in its first lines
// what it promises.
func TestCommands(t *testing.T) { scripts(t, "testdata/script") }

func scripts(t *testing.T, dir string) {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	testscript.RunT(inTurn{t}, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DAPPLE_HOME", env.WorkDir+"/home")
			env.Setenv("NO_COLOR", "1")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "drill": drill, "service": serviceUp, "symptom": symptom},
	})
}

// code N dapple ARG… runs the program and fails unless its exit code is N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [arg…]")
	}
	if got := exitCode(ts, args[1:]); args[0] != fmt.Sprint(got) {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// drill N DIR dapple ARG… is code N for a drill that is kept in DIR. One that says
// that it could not tell, which is an answer on a machine that was busy, is done
// again, twice at most. N|M is either of them; then one that says anything else is
// done again.
func drill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: drill N DIR command [arg…]")
	}
	want, got := strings.Split(args[0], "|"), ""
	for try := 0; try == 0 || try < 3 && (got == fmt.Sprint(unproven) || len(want) > 1) && !slices.Contains(want, got); try++ {
		ts.Check(os.RemoveAll(ts.MkAbs(args[1])))
		got = fmt.Sprint(exitCode(ts, append(slices.Clone(args[2:]), "--out", args[1])))
	}
	if !slices.Contains(want, got) {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func exitCode(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if err == nil {
		return 0
	}
	exit, ok := err.(interface{ ExitCode() int })
	if !ok {
		ts.Fatalf("%v", err)
	}
	return exit.ExitCode()
}
