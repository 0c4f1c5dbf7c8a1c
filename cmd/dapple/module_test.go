package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// module is a new Go module that is not ours, in a folder outside of this repository,
// for which this checkout is the one version of dapple there is.
type module struct{ dir, home, proxy string }

func newModule(t *testing.T) module {
	t.Helper()
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := module{t.TempDir(), t.TempDir(), t.TempDir()}
	at := filepath.Join(m.proxy, "github.com/dapple-drills/dapple/@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		// A proxy that knows the version; its files are those of the checkout.
		filepath.Join(at, "list"):        "v0.0.1\n",
		filepath.Join(at, "v0.0.1.info"): `{"Version":"v0.0.1"}`,
		filepath.Join(at, "v0.0.1.mod"):  string(ours),
		filepath.Join(m.dir, "go.mod"): fmt.Sprintf("module example.org/orders\n\ngo %s\n\nreplace github.com/dapple-drills/dapple => %s\n",
			strings.TrimPrefix(runtime.Version(), "go"), here),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// do runs the go command in the module.
func (m module) do(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = m.dir
	// The database of checksums would be asked for what our own go.sum knows already.
	proxy, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "GOPROXY=file://"+filepath.ToSlash(m.proxy)+","+strings.TrimSpace(string(proxy)), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOSUMDB=off", "CGO_ENABLED=0", "DAPPLE_HOME="+m.home)
	out, err := cmd.CombinedOutput()
	t.Logf("go %s\n%s", strings.Join(args, " "), out)
	return string(out), err
}

// busy is how the drill of a test says that it could not tell.
var busy = regexp.MustCompile(`(?m)^\s*(orders_test\.go:\d+: )?(INCONCLUSIVE|INVALID): etcd leader kill on etcd`)

// TestTheDocumentedTestRunsInAModuleThatIsNotOurs takes the ten lines and the commands
// out of docs/guides/go-tests.md as they stand there, and runs them as their reader
// does: a drill of a real etcd, by a program that go test builds.
func TestTheDocumentedTestRunsInAModuleThatIsNotOurs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "docs/guides/go-tests.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code []block
	var typed []command
	for _, b := range readPage("docs/guides/go-tests.md", string(data)).blocks {
		switch {
		case b.info == "go":
			code = append(code, b)
		case b.isCommands():
			typed = append(typed, b.commands()...)
		}
	}
	if len(code) < 2 || len(typed) < 3 {
		t.Fatalf("the page has %d blocks of Go and %d commands", len(code), len(typed))
	}
	m := newModule(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("orders_test.go", code[0].text())
	// The other one is an excerpt: it is compiled with what it takes for granted.
	write("own_test.go", "package orders_test\n\nimport (\n\t\"testing\"\n\n\t\"github.com/dapple-drills/dapple/drills/drilltest\"\n\t\"github.com/dapple-drills/dapple/scenarios\"\n)\n\n"+
		"func own(t *testing.T, names []string, dsn string, settings scenarios.Params) {\n"+code[1].text()+"}\n\nvar _ = own\n")
	for _, c := range typed {
		out, err := m.do(t, shellWords(c.text)[1:]...)
		if err != nil && busy.MatchString(out) {
			out, err = m.do(t, shellWords(c.text)[1:]...)
		}
		switch {
		case err != nil && busy.MatchString(out):
			// The drill was done and judged. That a busy machine cannot tell, and that
			// the test is then red, is what the page says.
			t.Logf("%s: this machine was too busy to tell, twice", c.at)
		case err != nil:
			t.Fatalf("%s: %s: %v\n%s", c.at, c.text, err, out)
		case strings.HasPrefix(c.text, "go test") && (!strings.Contains(out, "--- PASS: TestTheLeaderMayDie") || strings.Contains(out, "SKIP")):
			t.Errorf("%s: the drill was not done:\n%s", c.at, out)
		}
	}
}
