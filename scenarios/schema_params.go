package scenarios

import (
	"encoding"
	"reflect"
	"strings"
	"time"
)

// durationPattern is what parseDuration reads, as a regular expression.
const durationPattern = `([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms|us|µs|ns))+`

// sectionSchema is the JSON Schema of a struct that Params.Decode fills. It is
// made when it is asked for, from the types alone: their packages are not known
// here. A field's jsonschema tag may add "description=…", "enum=…" (repeated),
// "default=…"; the description, which may hold commas, stands last.
func sectionSchema(params any) object {
	return typeSchema(reflect.TypeOf(params))
}

func typeSchema(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		return typeSchema(t.Elem())
	}
	switch {
	case t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[Duration]():
		return object{"type": "string", "pattern": "^" + durationPattern + "$"}
	case t == reflect.TypeFor[Strings]():
		return stringsSchema()
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return object{"type": []any{"string", "number", "boolean"}} // its own text decides
	}
	switch t.Kind() {
	case reflect.Struct:
		return structSchema(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Bool:
		return object{"enum": []any{"yes", "no", true, false}}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	}
	return object{"type": "integer"}
}

func structSchema(t reflect.Type) object {
	properties := object{}
	for _, f := range fieldsOf(t, nil) {
		sf := t.FieldByIndex(f.index)
		s := typeSchema(sf.Type)
		annotate(s, sf.Tag.Get("jsonschema"))
		properties[f.name] = s
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

func stringsSchema() object {
	one := object{"type": "string"}
	return object{"anyOf": []any{one, object{"type": "array", "items": one}}}
}

func annotate(s object, tag string) {
	tag, description, has := strings.Cut(tag, "description=")
	if has {
		s["description"] = description
	}
	var enum []any
	for _, part := range strings.Split(tag, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "enum":
			enum = append(enum, value)
		case "default":
			s["default"] = value
		}
	}
	if enum != nil {
		s["enum"] = enum
	}
}
