package selfrun_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
)

// program is a static program that does as it is told: what an agent is to this
// package.
const program = `package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	switch os.Args[1] {
	case "status":
		b, err := os.ReadFile("/proc/self/status")
		fmt.Printf("%s%v\n", b, err)
	case "write": // a file, and whether another directory can be seen
		fmt.Println(os.WriteFile(os.Args[2], []byte(os.Getenv("WORD")), 0o600))
		_, err := os.Stat("/etc/passwd")
		fmt.Println(os.IsNotExist(err))
	case "wait": // for the end of stdin
		b, err := io.ReadAll(os.Stdin)
		fmt.Println(strings.ToUpper(string(b)), err)
		fmt.Fprintln(os.Stderr, "bye")
		os.Exit(7)
	}
}
`

// client is set in the process that stands for "dapple helper", which is killed.
const client = "SELFRUN_TEST_CLIENT"

func TestMain(m *testing.M) {
	if image := os.Getenv(client); image != "" {
		os.Exit(runClient(image))
	}
	os.Exit(m.Run())
}

func runClient(image string) int {
	ctx := context.Background()
	e, err := docker.Connect(ctx)
	if err != nil {
		return 100
	}
	code, err := selfrun.Run(ctx, e, selfrun.Options{Image: image, Args: []string{"wait"}, Home: os.Getenv("SELFRUN_TEST_HOME"), Version: "test"},
		selfrun.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	if err != nil {
		return 101
	}
	return code
}

// ground is an engine, and the image of the program above.
type ground struct {
	e     *docker.Engine
	image string
	home  string
}

func newGround(t *testing.T) ground {
	t.Helper()
	testenv.NeedDocker(t)
	e, err := docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	g := ground{e: e, home: t.TempDir()}
	if g.image, err = selfrun.Image(t.Context(), e, compile(t, program, "0"), "test"); err != nil {
		t.Fatal(err)
	}
	return g
}

func compile(t *testing.T, source, cgo string) string {
	t.Helper()
	dir := t.TempDir()
	file, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "p")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "build", "-o", out, file)
	c.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOFLAGS=")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

func (g ground) run(t *testing.T, in io.Reader, env []string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code, err := selfrun.Run(t.Context(), g.e, selfrun.Options{Image: g.image, Args: args, Env: env, Home: g.home, Version: "test"}, selfrun.Stdio{In: in, Out: &o, Err: &e})
	if err != nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), code
}

// containers are those of this test's image.
func (g ground) containers(t *testing.T) (ids []string) {
	t.Helper()
	all, err := g.e.API().ContainerList(context.WithoutCancel(t.Context()), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("ancestor", g.image))})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids
}

// busy is for an engine under load: idle it takes tenths of a second, and a minute
// was seen with forty processes per core waiting. What is promised is that nothing
// stays; how long it took is logged.
const busy = 3 * time.Minute

func (g ground) empty(t *testing.T, within time.Duration) {
	t.Helper()
	until(t, within, "no container is left", func() bool { return len(g.containers(t)) == 0 })
}

func until(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func TestTheProgramHasTheRightsThatAreNamedAndNoOthers(t *testing.T) {
	g := newGround(t)
	out, _, code := g.run(t, strings.NewReader(""), nil, "status")
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	// capabilities(7), by their numbers in linux/capability.h.
	bits := map[string]uint{"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "KILL": 5, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYS_TIME": 25}
	var want uint64
	for _, c := range selfrun.Capabilities() {
		bit, known := bits[c]
		if !known {
			t.Errorf("%s is not known to the test", c)
		}
		want |= 1 << bit
	}
	for name, value := range map[string]string{"CapEff": hex(want), "CapBnd": hex(want), "NoNewPrivs": "1", "Uid": "0"} {
		if got := field(out, name); got != value {
			t.Errorf("%s is %s, want %s", name, got, value)
		}
	}
	if pids := strings.Fields(field(out, "NSpid")); len(pids) != 1 {
		t.Errorf("NSpid %v: it is in a pid namespace of its own", pids)
	}
	g.empty(t, busy)
}

func hex(n uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 16)
	for i := range b {
		b[15-i] = digits[n>>(4*i)&15]
	}
	return string(b)
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Fields(value)[0]
		}
	}
	return ""
}

func TestItSeesItsHomeAndNothingElseOfTheMachinesFiles(t *testing.T) {
	g := newGround(t)
	if os.Geteuid() == 0 { // the home of somebody else, closed to others
		if err := errors.Join(os.Chown(g.home, 12345, 12345), os.Chmod(g.home, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(g.home, "f")
	out, _, _ := g.run(t, strings.NewReader(""), []string{"WORD=hello"}, "write", file)
	if out != "<nil>\ntrue\n" {
		t.Errorf("it said %q", out)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "hello" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestItsStdioAndItsExitCodeAreThoseOfTheProgram(t *testing.T) {
	g := newGround(t)
	out, errOut, code := g.run(t, strings.NewReader("hello"), nil, "wait")
	if out != "HELLO <nil>\n" || errOut != "bye\n" || code != 7 {
		t.Errorf("%q, %q, %d", out, errOut, code)
	}
	g.empty(t, busy)
}

func TestWhateverHappensToItsClientNoContainerStays(t *testing.T) {
	g := newGround(t)
	for name, end := range map[string]func(c *exec.Cmd, in io.Closer) error{
		"its stdin ends":           func(_ *exec.Cmd, in io.Closer) error { return in.Close() },
		"it is killed":             func(c *exec.Cmd, _ io.Closer) error { return c.Process.Kill() },
		"it is asked to terminate": func(c *exec.Cmd, _ io.Closer) error { return c.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			c, in := g.client(t)
			began := time.Now()
			if err := end(c, in); err != nil {
				t.Fatal(err)
			}
			g.empty(t, busy)
			t.Logf("gone after %v", time.Since(began).Round(time.Millisecond))
			_ = c.Wait() // how it ended is what was done to it
		})
	}
}

// client is a process that holds a program in a container.
func (g ground) client(t *testing.T) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(me)
	c.Env = append(os.Environ(), client+"="+g.image, "SELFRUN_TEST_HOME="+g.home)
	in, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // it may have ended
	until(t, busy, "the container runs", func() bool {
		ids := g.containers(t)
		if len(ids) == 0 {
			return false
		}
		s, err := g.e.API().ContainerInspect(t.Context(), ids[0])
		return err == nil && s.State.Running
	})
	return c, in
}

func TestAProgramThatNeedsLibrariesIsRefusedWithTheWayOut(t *testing.T) {
	sh, err := exec.LookPath("sh") // dynamically linked on every distribution of use here
	if err != nil {
		t.Fatal(err)
	}
	if err := selfrun.Static(sh); err == nil || !strings.Contains(err.Error(), "shared libraries") {
		t.Errorf("got %v", err)
	}
	if err := selfrun.Static(compile(t, program, "0")); err != nil {
		t.Error(err)
	}
	if err := selfrun.Static("/etc/passwd"); err == nil {
		t.Error("what is no program was taken")
	}
}
