package scenarios

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// A Duration is written with its unit: 200ms, 1.5s, 2m, 1d.
type Duration time.Duration

// D is d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// A Rate is events per second, written with its unit: 200/s, 30/m.
type Rate float64

// Strings is one string, or a list of them.
type Strings []string

// Params is a mapping whose meaning belongs to whoever is named beside it (an
// injector, a kind of system). It keeps its positions; see Decode.
type Params struct{ node *yaml.Node }

// A Pos is a place in a file; Line and Col count from 1.
type Pos struct {
	File      string
	Line, Col int
}
