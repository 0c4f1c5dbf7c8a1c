package drills

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/targets"
)

// identified is a world whose servers say which cluster they are of; at "" in turn.
type identified struct {
	*world
	of       map[string]string
	endpoint chan string
}

func (i identified) Identity(_ context.Context, n targets.Node) (string, error) {
	if n == nil {
		return <-i.endpoint, nil
	}
	if id, ok := i.of[n.Name()]; ok {
		return id, nil
	}
	return "", errors.New("no answer")
}

func TestServersOfDifferentClustersInOneFileAreRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		of       map[string]string
		endpoint []string // as it is asked
		want     string   // "" is no refusal
	}{
		{"one", map[string]string{"a": "x", "b": "x", "c": "x"}, []string{"x", "x", "x", "x"}, ""},
		{"a node is silent", map[string]string{"a": "x", "b": "x"}, []string{"x", "x", "x", "x"}, ""},
		{"a replica of another", map[string]string{"a": "x", "b": "y", "c": "x"}, []string{"x", "x", "x", "x"},
			"the nodes are of 2 clusters: a, c: x; b: y"},
		{"the endpoint is another's", map[string]string{"a": "x", "b": "x", "c": "x"}, []string{"y", "y", "y", "y"},
			"the clients' endpoint leads to another cluster (y) than the nodes are of: a, b, c: x"},
		{"two behind one endpoint", map[string]string{"a": "x", "b": "x", "c": "x"}, []string{"x", "x", "x", "y"},
			"the clients' endpoint leads to 2 clusters: x and y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			p := w.plan(t)
			i := identified{w, c.of, make(chan string, len(c.endpoint))}
			for _, id := range c.endpoint {
				i.endpoint <- id
			}
			p.System = i
			v, err := Preflight(t.Context(), p)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no refusal", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
			untold := strings.Contains(strings.Join(v.Notes, "\n"), "which cluster node c is of cannot be told: no answer")
			if untold != (len(c.of) < 3) {
				t.Errorf("the notes are %q", v.Notes)
			}
			if got := w.log(); len(got) > 0 {
				t.Errorf("it touched the system: %v", got)
			}
		})
	}
}
