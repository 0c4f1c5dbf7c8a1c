package archtest_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/internal/archtest"
)

// load parses a made-up module, so that every rule is seen to refuse what it is
// for and to let pass what it is not for.
func load(t *testing.T, files map[string]string) *archtest.Tree {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	r, err := archtest.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func importing(paths ...string) string {
	text := "// Package x is.\npackage x\n"
	for _, p := range paths {
		text += fmt.Sprintf("import _ %q\n", strings.Replace(p, "ours", archtest.Module, 1))
	}
	return text
}

var place = regexp.MustCompile(`^\S+?\.go(:\d+)?`)

// places are the places of violations: file and line, or the file alone.
func places(bad []string) []string {
	var at []string
	for _, b := range bad {
		at = append(at, place.FindString(b))
	}
	return at
}

func TestAnImportAgainstTheTableIsReported(t *testing.T) {
	r := load(t, map[string]string{
		"targets/a.go":                      importing("ours/injectors", "fmt"),
		"targets/docker/a.go":               importing("ours/targets", "ours/internal/kernel", "ours/internal/diag"),
		"injectors/kill/a.go":               importing("ours/injectors", "ours/injectors/pause"),
		"injectors/kill/a_test.go":          importing("ours/probes"),
		"injectors/agent/a.go":              importing("ours/drills/journal", "ours/internal/durable"),
		"injectors/all/a.go":                importing("ours/injectors/kill", "ours/injectors/pause"),
		"probes/patroni/a.go":               importing("ours/probes/postgres", "ours/injectors"),
		"probes/health/a.go":                importing("ours/probes/postgres"),
		"scenarios/a.go":                    importing("ours/internal/diag", "ours/targets"),
		"drills/a.go":                       importing("ours/drills/verdict", "ours/injectors/kill", "ours/reports", "ours/probes/all"),
		"targets/testcluster/x/a.go":        importing("ours/targets/docker", "ours/internal/kernel", "ours/probes"),
		"reports/live/a.go":                 importing("ours/drills", "ours/reports", "ours/probes/etcd"),
		"internal/durable/a.go":             importing("ours/internal/kernel", "ours/targets"),
		"cmd/dapple/a.go":                   importing("ours/probes/all", "ours/reports"),
		"newthing/a.go":                     importing(),
		"newthing/testdata/ignored/a.go":    "not Go",
		"tools/go.mod":                      "module other",
		"tools/a.go":                        importing("ours/anything"),
		".hidden/a.go":                      "not Go",
		"probes/postgres/postgrestest/a.go": importing("ours/internal/testenv", "ours/drills"),
	})
	want := []string{
		"drills/a.go:4", "drills/a.go:5", "drills/a.go:6", "injectors/kill/a.go:4", "internal/durable/a.go:4", "newthing/a.go",
		"probes/health/a.go:3", "probes/patroni/a.go:4", "probes/postgres/postgrestest/a.go:4", "reports/live/a.go:5",
		"scenarios/a.go:4", "targets/a.go:3", "targets/testcluster/x/a.go:5",
	}
	if d := cmp.Diff(want, places(archtest.Imports(r, archtest.Layers()))); d != "" {
		t.Error(d)
	}
}

func TestADependencyOutsideItsOwnerIsReported(t *testing.T) {
	r := load(t, map[string]string{
		"targets/docker/a.go":               importing("github.com/docker/docker/client"),
		"drills/a.go":                       importing("github.com/docker/docker/client", "go.uber.org/zap", "golang.org/x/sync/errgroup"),
		"drills/a_test.go":                  importing("github.com/docker/docker/client", "go.yaml.in/yaml/v4"),
		"targets/testcluster/embedded/a.go": importing("go.etcd.io/etcd/server/v3/embed", "github.com/testcontainers/testcontainers-go"),
		"probes/etcd/a.go":                  importing("go.etcd.io/etcd/client/v3", "go.uber.org/zap"),
		"probes/new/a.go":                   importing("example.com/new"),
	})
	want := []string{"drills/a.go:3", "drills/a_test.go:3", "probes/etcd/a.go:4", "probes/new/a.go:3"}
	if d := cmp.Diff(want, places(archtest.Dependencies(r, archtest.Owners()))); d != "" {
		t.Error(d)
	}
}

func TestAnImpureVerdictIsReported(t *testing.T) {
	r := load(t, map[string]string{
		"drills/verdict/a.go": "package verdict\nimport \"time\"\nimport \"os\"\nimport \"strings\"\nvar d = time.Second\nvar t = time.Now()\nvar f = os.Args\nvar s = strings.ToLower(``)\n",
		"drills/a.go":         "package drills\nimport \"time\"\nvar t = time.Now()\n",
	})
	if d := cmp.Diff([]string{"drills/verdict/a.go:3", "drills/verdict/a.go:6"}, places(archtest.Pure(r))); d != "" {
		t.Error(d)
	}
}

const forbidden = `package x
import ("context"; "fmt"; system "os"; "time"; "log")
func init() {}
type T struct{}
func (T) init() {}
func f() {
	fmt.Println(1)
	fmt.Sprint(1)
	system.Exit(1)
	context.TODO()
	context.Background()
	time.Sleep(1)
	log.Print(1)
}
`

func TestForbiddenCallsAreReportedWhereTheyAreForbidden(t *testing.T) {
	r := load(t, map[string]string{
		"a/a.go": forbidden, "a/a_test.go": forbidden, "cmd/dapple/a.go": forbidden, "internal/testenv/a.go": forbidden,
	})
	want := []string{
		"a/a.go:7", "a/a.go:9", "a/a.go:10", "a/a.go:11", "a/a.go:12", "a/a.go:13", "a/a.go:3",
		"a/a_test.go:12", "a/a_test.go:3", "cmd/dapple/a.go:12", "cmd/dapple/a.go:3", "internal/testenv/a.go:12", "internal/testenv/a.go:3",
	}
	if d := cmp.Diff(want, places(archtest.Forbidden(r))); d != "" {
		t.Error(d)
	}
}

func TestNamesThatSayNothingAreReported(t *testing.T) {
	r := load(t, map[string]string{"a/util/a.go": "package x", "b/a.go": "package helpers", "probes/a.go": "package probes"})
	if d := cmp.Diff(2, len(archtest.Names(r))); d != "" {
		t.Error(d)
	}
}

func TestUndocumentedNamesAreReported(t *testing.T) {
	r := load(t, map[string]string{
		"a/a.go": `package a
func F() {}
// G is.
func G() {}
func h() {}
type T[X any] struct{ Field int }
func (t *T[X]) M() {}
func (t T[X]) String() string { return "" }
type u struct{}
func (u) M() {}
const C = 1
// These are.
const (
	D = 1
	E = 2
)
var V = 1 // a line is enough
`,
		"a/b_test.go": "package a\nfunc Test() {}\n",
		"b/a.go":      "// Code generated by x. DO NOT EDIT.\n\npackage b\nfunc F() {}\n",
	})
	want := []string{"a/a.go:2", "a/a.go:6", "a/a.go:7", "a/a.go:11", "a/a.go"}
	if d := cmp.Diff(want, places(archtest.Documented(r))); d != "" {
		t.Error(d)
	}
}

func TestLongFilesAndFunctionsAreReported(t *testing.T) {
	long := func(n int) string { return strings.Repeat("\n", n) }
	r := load(t, map[string]string{
		"a/a.go": "package a\nfunc f() {" + long(79) + "}\nfunc g() {" + long(80) + "}\n",
		"a/b.go": "package a\n" + long(399),
		"a/c.go": "package a\n" + long(400),
		"a/d.go": "package a\nvar f = func() {" + long(80) + "}\n",
		"a/e.go": "// Code generated by x. DO NOT EDIT.\n\npackage a\n" + long(900),
	})
	want := []string{"a/a.go:82", "a/c.go", "a/d.go:2"}
	if d := cmp.Diff(want, places(archtest.Sizes(r))); d != "" {
		t.Error(d)
	}
}
