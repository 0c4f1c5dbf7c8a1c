package scenarios_test

import (
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/probes/http"
	"github.com/dapple-drills/dapple/scenarios"
)

var update = flag.Bool("update", false, "write what is got as what is wanted (see: git diff)")

// A badCase is a file of testdata/bad. It is named for the rule that it breaks,
// with anything after a dot. Its comment says in its last line whether the JSON
// Schema must refuse the file too:
//
//	schema: refuses
//	schema: cannot tell
type badCase struct {
	path    string
	rule    string
	refuses bool // by the schema
	archive *txtar.Archive
}

func badCases(t testing.TB) []badCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var cases []badCase
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		rule, _, _ := strings.Cut(filepath.Base(p), ".")
		c := badCase{path: p, rule: rule, archive: a}
		switch comment := strings.TrimSpace(string(a.Comment)); {
		case strings.HasSuffix(comment, "schema: refuses"):
			c.refuses = true
		case !strings.HasSuffix(comment, "schema: cannot tell"):
			t.Fatalf("%s: its comment does not end with what the schema says of it", p)
		}
		cases = append(cases, c)
	}
	return cases
}

func (c badCase) file(name string) []byte {
	for _, f := range c.archive.Files {
		if f.Name == name {
			return unquote(f.Data)
		}
	}
	return nil
}

// unquote writes a file out that txtar cannot hold: a first line "quoted" is
// followed by one Go string, and BIG is more than any file may have.
func unquote(data []byte) []byte {
	rest, ok := strings.CutPrefix(string(data), "quoted\n")
	if !ok && string(data) == "BIG\n" {
		return []byte(strings.Repeat("# too much\n", 1<<17))
	}
	if !ok {
		return data
	}
	s, err := strconv.Unquote(strings.TrimSpace(rest))
	if err != nil {
		panic("testdata: " + err.Error())
	}
	return []byte(s)
}

// problems is what reading the case's files reports.
func (c badCase) problems() error {
	v := vocabulary()
	var sc *scenarios.Scenario
	var sys *scenarios.System
	var err, e error
	if data := c.file("scenario.yaml"); data != nil {
		sc, e = scenarios.ParseScenario("scenario.yaml", data, v)
		err = diag.Append(err, e)
	}
	if data := c.file("system.yaml"); data != nil {
		sys, e = scenarios.ParseSystem("system.yaml", data, v)
		err = diag.Append(err, e)
	}
	if data := c.file("schedule.yaml"); data != nil {
		_, e = scenarios.ParseSchedule("schedule.yaml", data, v)
		err = diag.Append(err, e)
	}
	if data := c.file("roster.yaml"); data != nil {
		_, e = scenarios.ParseRoster("roster.yaml", data)
		err = diag.Append(err, e)
	}
	if sc != nil && sys != nil {
		err = diag.Append(err, scenarios.CheckPair(sc, sys))
	}
	return err
}

func TestEveryBadFileGetsExactlyItsMessages(t *testing.T) {
	for _, c := range badCases(t) {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			err := c.problems()
			if err == nil {
				t.Fatal("nothing was found wrong")
			}
			if !slices.ContainsFunc(diag.ProblemsOf(err), func(p diag.Problem) bool { return p.Rule == c.rule }) {
				t.Errorf("the rule %s is not among the problems:\n%v", c.rule, err)
			}
			var got strings.Builder
			if err := diag.Write(&got, err); err != nil {
				t.Fatal(err)
			}
			if *update {
				rewrite(t, c, got.String())
				return
			}
			if d := cmp.Diff(string(c.file("want")), got.String()); d != "" {
				t.Errorf("-want +got (go test -update writes it):\n%s", d)
			}
		})
	}
}

func rewrite(t *testing.T, c badCase, want string) {
	t.Helper()
	files := slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == "want" })
	c.archive.Files = append(files, txtar.File{Name: "want", Data: []byte(want)})
	if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryRuleHasABadFile(t *testing.T) {
	have := map[string]bool{}
	for _, c := range badCases(t) {
		have[c.rule] = true
	}
	rules := rules(t)
	for _, rule := range rules {
		if !have[rule] {
			t.Errorf("testdata/bad/%s.txtar is missing", rule)
		}
		delete(have, rule)
	}
	for rule := range have {
		t.Errorf("testdata/bad/%s*.txtar belongs to no rule", rule)
	}
}

// rules reads the constants of rules.go.
func rules(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			rule, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, rule)
		}
		return true
	})
	return found
}

func TestNoMessageRepeatsASecret(t *testing.T) {
	for _, c := range badCases(t) {
		if err := c.problems(); err != nil {
			var b strings.Builder
			if werr := diag.Write(&b, err); werr != nil {
				t.Fatal(werr)
			}
			if strings.Contains(b.String(), "hunter2") {
				t.Errorf("%s: the secret is in the output:\n%s", c.path, b.String())
			}
		}
	}
}

// killParams stands for the parameters of an injector: a struct of a package
// that does not know this one.
type killParams struct {
	Signal  string        `yaml:"signal" jsonschema:"enum=KILL,enum=STOP,default=KILL,description=the signal"`
	Process string        `yaml:"process"`
	Mode    string        `yaml:"mode"`
	Delay   time.Duration `yaml:"delay"`
	Count   int           `yaml:"count"`
	Nice    bool          `yaml:"nice"`
	Ratio   float64       `yaml:"ratio"`
	Peers   []string      `yaml:"peers"`
}

func vocabulary() *scenarios.Vocabulary {
	return &scenarios.Vocabulary{
		Injectors: []scenarios.InjectorWord{
			{
				Name:   "kill",
				Params: &killParams{},
				Check: func(with scenarios.Params) error {
					p := killParams{Signal: "KILL"}
					if err := with.Decode(&p); err != nil {
						return err
					}
					if p.Signal != "KILL" && p.Signal != "STOP" {
						return diag.Hint(errors.New("no signal "+p.Signal), "KILL or STOP")
					}
					return nil
				},
				Excludes: func(other string) string {
					if other == "pause" {
						return "a killed process cannot be frozen"
					}
					return ""
				},
			},
			{Name: "noop"},
			{Name: "pause"},
		},
		Capabilities: map[string]string{"loss": "its acknowledged writes can be looked for", "roles": "its nodes say what they are"},
		Kinds: []scenarios.KindWord{
			{Name: "patroni", Phases: []string{"worst", "best"}},
			{Name: "etcd"},
			{Name: "http", HTTP: scenarios.Section{Params: &http.Params{}, Check: func(p scenarios.Params) error { return http.Check(p.Decode) }}},
		},
		Clusters: []string{"patroni", "etcd"},
		Times:    schedule.Check,
	}
}
