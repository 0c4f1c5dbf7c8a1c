package scenarios_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/library"
)

const durationPattern = `([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms|us|µs|ns))+`

// mapped is what a type of ours looks like in a file, where that is not what Go
// makes of it.
func mapped(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern}
	}
	switch t {
	case reflect.TypeFor[scenarios.Duration]():
		return text("^" + durationPattern + "$")
	case reflect.TypeFor[scenarios.Rate]():
		return text(`^[0-9]+(\.[0-9]+)?/(s|m|h)$`)
	case reflect.TypeFor[scenarios.RPO]():
		return text("^([0-9]+ writes?|" + durationPattern + ")$")
	case reflect.TypeFor[scenarios.Never]():
		return &jsonschema.Schema{Const: "never"}
	case reflect.TypeFor[scenarios.YesNo]():
		return &jsonschema.Schema{Enum: []any{"yes", "no", true, false}}
	case reflect.TypeFor[scenarios.Window]():
		day := "(sun|mon|tue|wed|thu|fri|sat)"
		return text("^(" + day + "(-" + day + ")?(," + day + "(-" + day + ")?)* )?([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")
	case reflect.TypeFor[scenarios.Dates]():
		return text(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(\.\.[0-9]{4}-[0-9]{2}-[0-9]{2})?$`)
	case reflect.TypeFor[scenarios.Phase]():
		return &jsonschema.Schema{Enum: []any{scenarios.Random, scenarios.Worst, scenarios.Best}}
	case reflect.TypeFor[scenarios.Environment]():
		return &jsonschema.Schema{Enum: []any{scenarios.CI, scenarios.Staging, scenarios.Production}}
	case reflect.TypeFor[scenarios.Params]():
		return &jsonschema.Schema{Type: "object"}
	case reflect.TypeFor[scenarios.Strings]():
		one, least := &jsonschema.Schema{Type: "string"}, uint64(0)
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one, {Type: "array", Items: one, MinItems: &least}}}
	}
	return nil
}

// narrow adds the rules between keys, which no Go type says.
func narrow(defs jsonschema.Definitions, root *jsonschema.Schema) {
	one, most := uint64(1), uint64(1)
	need := func(keys ...string) *jsonschema.Schema { return &jsonschema.Schema{Required: keys} }
	for name, s := range defs {
		switch name {
		case "Nodes":
			s.MinProperties, s.MaxProperties = &one, &most
		case "DockerNodes", "Abort":
			s.MinProperties = &one
		case "Secret":
			s.MinProperties, s.MaxProperties = &one, &most
			env, _ := s.Properties.Get("env")
			env.Pattern = `^[A-Za-z_][A-Za-z0-9_]*$`
		case "Health":
			s.MaxProperties = &most
		case "HostNode":
			s.OneOf = []*jsonschema.Schema{need("url"), need("addr")}
			s.Not = need("unit", "pidfile")
			s.DependentRequired = map[string][]string{"start": {"pidfile"}}
			narrowService(s)
		case "SSHNode":
			s.Not = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{need("url", "addr"), need("unit", "pidfile")}}
			s.DependentRequired = map[string][]string{"start": {"pidfile"}}
			narrowService(s)
			host, _ := s.Properties.Get("host")
			host.Pattern = scenarios.SSHHostPattern
			dir, _ := s.Properties.Get("dir")
			dir.Pattern = scenarios.SSHDirPattern
		case "Query":
			s.AnyOf = []*jsonschema.Schema{need("min"), need("max")}
		case "Guardrails":
			s.DependentRequired = map[string][]string{
				"prometheus": {"queries"}, "queries": {"prometheus"}, "alertmanager": {"alerts"}, "alerts": {"alertmanager"},
			}
			alerts, _ := s.Properties.Get("alerts")
			alerts.Items.Pattern = scenarios.MatcherPattern
		case "Clients":
			s.Not = need("dsn", "url")
		}
	}
	if steps, ok := root.Properties.Get("steps"); ok {
		steps.PrefixItems = []*jsonschema.Schema{{Ref: "#/$defs/Step", Not: need("at")}}
	}
}

// narrowService is what holds for a service wherever it is.
func narrowService(s *jsonschema.Schema) {
	unit, _ := s.Properties.Get("unit")
	unit.Pattern = scenarios.UnitPattern
	pidfile, _ := s.Properties.Get("pidfile")
	pidfile.Pattern = "^/"
	start, _ := s.Properties.Get("start")
	start.PrefixItems = []*jsonschema.Schema{{Pattern: "^/"}}
}

func generate(t *testing.T, what string, v any) []byte {
	t.Helper()
	r := &jsonschema.Reflector{FieldNameTag: "yaml", ExpandedStruct: true, Mapper: mapped}
	if err := r.AddGoComments("github.com/dapple-drills/dapple/scenarios", "."); err != nil {
		t.Fatal(err)
	}
	for k, text := range r.CommentMap {
		r.CommentMap[k] = strings.ReplaceAll(text, "\n", " ")
	}
	s := r.Reflect(v)
	s.ID = ""
	s.Title = "dapple " + what + " file"
	narrow(s.Definitions, s)
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func TestTheSchemaFilesAreThoseOfTheTypes(t *testing.T) {
	for what, v := range map[string]any{"scenario": &scenarios.Scenario{}, "system": &scenarios.System{}, "schedule": &scenarios.Schedule{}} {
		want := generate(t, what, v)
		if *update {
			if err := os.WriteFile(filepath.Join("schema", what+".json"), want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := scenarios.Schema(what, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("schema/%s.json is not that of the types (go generate ./scenarios):\n%s", what, d)
		}
	}
}

// compiled is a schema ready to validate with.
func compiled(t testing.TB, what string, v *scenarios.Vocabulary) *validator.Schema {
	t.Helper()
	data, err := scenarios.Schema(what, v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource(what+".json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(what + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid says what a schema has against a YAML file; unreadable YAML is refused
// by every editor before the schema is asked.
func valid(t testing.TB, s *validator.Schema, file []byte) error {
	t.Helper()
	var v any
	if err := yaml.Load(file, &v); err != nil {
		return nil
	}
	data, err := json.Marshal(datesAsText(v))
	if err != nil {
		return nil
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// datesAsText has a day be text, which it is to editors (YAML 1.2 knows no dates).
func datesAsText(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.DateOnly)
	case []any:
		for i := range v {
			v[i] = datesAsText(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = datesAsText(v[k])
		}
	}
	return v
}

func TestEveryScenarioOfTheLibraryIsValidByTheSchema(t *testing.T) {
	for _, v := range []*scenarios.Vocabulary{nil, catalogued()} {
		s := compiled(t, "scenario", v)
		for _, name := range library.Names() {
			data, err := library.FS.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(t, s, data); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTheSchemaRefusesEveryBadFileWhereASchemaCanTell(t *testing.T) {
	for _, c := range badCases(t) {
		refused := false
		for _, what := range []string{"scenario", "system", "schedule"} {
			if data := c.file(what + ".yaml"); data != nil && valid(t, compiled(t, what, vocabulary()), data) != nil {
				refused = true
			}
		}
		if refused != c.refuses {
			t.Errorf("%s: refused by the schema: %v, and its comment says %v", c.path, refused, c.refuses)
		}
	}
}

func TestASchemaThatThereIsNotIsAnError(t *testing.T) {
	for _, what := range []string{"", "record", "../scenario"} {
		if _, err := scenarios.Schema(what, nil); err == nil {
			t.Errorf("Schema(%q) is one", what)
		}
	}
}

func TestTheSchemaKnowsWhatTheVocabularyKnows(t *testing.T) {
	data, err := scenarios.Schema("scenario", vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{`"kill"`, `"pause"`, `"patroni"`, `"signal"`, `"STOP"`, `"the signal"`} {
		if !bytes.Contains(data, []byte(word)) {
			t.Errorf("%s is not in the schema", word)
		}
	}
}
