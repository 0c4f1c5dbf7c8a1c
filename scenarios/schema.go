package scenarios

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The schemas are made from the types and their comments, which needs the source:
// hence at development time, into files. Editors read these without dapple.
//
//go:generate go test -run TestTheSchemaFilesAreThoseOfTheTypes -update .
//go:embed schema/*.json
var schemaFiles embed.FS

// Schema is the JSON Schema (draft 2020-12) of a file: "scenario", "system" or "schedule".
// With a vocabulary it also knows the names of injectors and kinds, and what may
// stand under with, http and settings; without one these are free.
func Schema(what string, v *Vocabulary) ([]byte, error) {
	data, err := schemaFiles.ReadFile("schema/" + what + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no schema of %q: scenario, system and schedule are what there is", what)
	}
	if v == nil {
		return data, nil
	}
	var root object
	if err := json.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", what, err)
	}
	switch FileKind(what) {
	case IsScenario:
		v.inScenario(root)
	case IsSystem:
		v.inSystem(root)
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", what, err)
	}
	return append(out, '\n'), nil
}

type object = map[string]any

// inScenario adds the injectors to the schema of a step, and the kinds.
func (v *Vocabulary) inScenario(root object) {
	defs := root["$defs"].(object)
	var rules []any
	for _, i := range v.Injectors {
		if i.Params != nil {
			rules = append(rules, when("inject", i.Name, object{"with": sectionSchema(i.Params)}))
		}
	}
	step := defs["Step"].(object)
	step["properties"].(object)["inject"] = words(step["properties"].(object)["inject"], v.injectorSummaries())
	if len(rules) > 0 {
		step["allOf"] = rules
	}
	requires := defs["Requires"].(object)["properties"].(object)
	if len(v.Capabilities) > 0 {
		one := words(object{}, v.Capabilities)
		requires["capability"] = object{
			"description": "What the system must be able to do, whatever its kind.",
			"anyOf":       []any{one, object{"type": "array", "items": one}},
		}
	}
	if len(v.Kinds) == 0 {
		return
	}
	kinds := object{"enum": toAny(v.kindNames())}
	requires["kind"] = object{
		"description": "One kind of system, or a list of them.",
		"anyOf":       []any{kinds, object{"type": "array", "items": kinds}},
	}
}

// inSystem adds the kinds, and the sections that each of them has.
func (v *Vocabulary) inSystem(root object) {
	properties := root["properties"].(object)
	var rules []any
	summaries := map[string]string{}
	for _, k := range v.Kinds {
		summaries[k.Name] = k.Summary
		sections := object{"http": false, "settings": k.Settings.schema()}
		if k.Name == KindHTTP {
			sections["http"] = k.HTTP.schema()
		}
		rules = append(rules, when("kind", k.Name, sections))
	}
	properties["kind"] = words(properties["kind"], summaries)
	if len(rules) > 0 {
		root["allOf"] = rules
	}
}

func (s Section) schema() any {
	if s.Params != nil {
		return sectionSchema(s.Params)
	}
	return true
}

func (v *Vocabulary) injectorSummaries() map[string]string {
	m := map[string]string{}
	for _, i := range v.Injectors {
		m[i.Name] = i.Summary
	}
	return m
}

// when is the rule: where key has that value, the properties are these.
func when(key, value string, properties object) object {
	return object{
		"if":   object{"properties": object{key: object{"const": value}}, "required": []any{key}},
		"then": object{"properties": properties},
	}
}

// words narrows a property to names, each with its summary for editors that show
// one.
func words(property any, summaries map[string]string) any {
	if len(summaries) == 0 {
		return property
	}
	narrowed := object{}
	for k, v := range property.(object) {
		narrowed[k] = v
	}
	var names, texts []any
	for name := range summaries {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	for _, name := range names {
		texts = append(texts, summaries[name.(string)])
	}
	narrowed["enum"] = names
	narrowed["enumDescriptions"] = texts // read by editors, ignored by validators
	return narrowed
}

func toAny(names []string) []any {
	var list []any
	for _, n := range names {
		list = append(list, n)
	}
	return list
}
