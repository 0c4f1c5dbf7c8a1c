package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/scenarios"
)

var updateReference = flag.Bool("update", false, "write docs/reference anew")

// TestTheReferenceSaysWhatTheProgramSays keeps docs/reference: it is made from the
// command table and the schemas, and is stale if it differs.
func TestTheReferenceSaysWhatTheProgramSays(t *testing.T) {
	for name, text := range map[string]string{
		"cli.md":      cliReference(),
		"scenario.md": schemaReference(t, "scenario"),
		"system.md":   schemaReference(t, "system"),
		"schedule.md": schemaReference(t, "schedule"),
	} {
		path := "../../docs/reference/" + name
		if *updateReference {
			if err := os.MkdirAll("../../docs/reference", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v (go test ./cmd/dapple -run Reference -update writes it)", err)
		}
		if d := cmp.Diff(string(was), text); d != "" {
			t.Errorf("%s is stale (go test ./cmd/dapple -run Reference -update writes it):\n%s", path, d)
		}
	}
}

const generated = "<!-- Made from the program by: go test ./cmd/dapple -run Reference -update -->\n"

func cliReference() string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + generated)
	root := newRoot(stdio{nil, &bytes.Buffer{}, &bytes.Buffer{}})
	root.InitDefaultCompletionCmd()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.CommandPath(), fenced(strings.TrimSpace(c.Long), c.Short))
		if c.Runnable() {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", c.UseLine())
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\nExamples:\n\n```\n%s\n```\n", c.Example)
		}
		if f := c.NonInheritedFlags().FlagUsages(); strings.TrimSpace(f) != "" {
			fmt.Fprintf(&b, "\n```\n%s```\n", f)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return b.String()
}

// fenced is the long text as it is shown on a terminal, or the short one.
func fenced(long, short string) string {
	if long == "" {
		return short + "."
	}
	return "```\n" + long + "\n```"
}

// A node of a schema, as far as the reference tells it.
type schemaNode struct {
	Ref         string                `json:"$ref"`
	Type        any                   `json:"type"`
	Description string                `json:"description"`
	Properties  map[string]schemaNode `json:"properties"`
	Required    []string              `json:"required"`
	Items       *schemaNode           `json:"items"`
	Enum        []any                 `json:"enum"`
	Defs        map[string]schemaNode `json:"$defs"`
	OneOf       []schemaNode          `json:"oneOf"`
	AnyOf       []schemaNode          `json:"anyOf"`
	AllOf       []schemaNode          `json:"allOf"`
}

func schemaReference(t *testing.T, of string) string {
	t.Helper()
	data, err := scenarios.Schema(of, vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	var root schemaNode
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The %s file\n\n%s\nWhat `dapple check` reads, from the same source as `dapple schema %s`.\n\n| key | | what it is |\n|---|---|---|\n", of, generated, of)
	rows(&b, root.Defs, root, "", 0)
	return b.String()
}

// rows writes a row per key, and below it those of what it holds.
func rows(b *strings.Builder, defs map[string]schemaNode, n schemaNode, path string, depth int) {
	n = resolve(defs, n)
	for _, key := range slices.Sorted(maps.Keys(n.Properties)) {
		p := n.Properties[key]
		full := resolve(defs, p)
		text := firstText(p.Description, full.Description)
		must := ""
		if slices.Contains(n.Required, key) {
			must = "required"
		}
		if len(full.Enum) > 0 {
			var words []string
			for _, e := range full.Enum {
				words = append(words, fmt.Sprintf("`%v`", e))
			}
			text = strings.TrimSpace(text + " One of " + strings.Join(words, ", ") + ".")
		}
		name := path + key
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, must, strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|"))
		if depth > 6 {
			continue
		}
		for _, inner := range append([]schemaNode{full}, slices.Concat(full.OneOf, full.AnyOf, full.AllOf)...) {
			inner = resolve(defs, inner)
			rows(b, defs, schemaNode{Properties: inner.Properties, Required: inner.Required}, name+".", depth+1)
			if inner.Items != nil {
				rows(b, defs, *inner.Items, name+"[].", depth+1)
			}
		}
	}
}

func resolve(defs map[string]schemaNode, n schemaNode) schemaNode {
	for range 8 {
		name, ok := strings.CutPrefix(n.Ref, "#/$defs/")
		if !ok {
			break
		}
		n = defs[name]
	}
	return n
}

func firstText(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
