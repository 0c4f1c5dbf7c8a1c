package docker

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The containers of a machine, as the engine lists them.
func machine() []found {
	compose := func(project, service, name string) found {
		return found{name, "running", map[string]string{composeProject: project, composeService: service}}
	}
	return []found{
		{"old", "exited", map[string]string{"app": "orders"}},
		compose("shop", "db", "shop-db-1"),
		compose("shop", "db", "shop-db-2"),
		{"shop-migrate-run-1", "running", map[string]string{composeProject: "shop", composeService: "migrate", composeOneOff: "True"}},
		compose("shop", "web", "shop-web-1"),
		{"x-pg1", "running", map[string]string{"app": "orders", "tier": "db", LabelNode: "pg1"}},
		{"y-pg1", "running", map[string]string{"app": "billing", LabelNode: "pg1"}},
	}
}

func choose(q Query) ([]string, error) {
	all := machine()
	var chosen []found
	for _, c := range all {
		if c.fits(q) {
			chosen = append(chosen, c)
		}
	}
	if len(q.Names) > 0 {
		var err error
		if chosen, err = byName(chosen, q, all); err != nil {
			return nil, err
		}
	}
	nodes, err := (&Engine{}).nodes(chosen)
	if err != nil {
		return nil, err
	}
	var got []string
	for _, n := range nodes {
		got = append(got, n.Name()+"="+n.(*Node).Container())
	}
	return got, nil
}

func TestASelectionNarrows(t *testing.T) {
	for _, c := range []struct {
		name string
		q    Query
		want []string
	}{
		{"by label, stopped ones too", Query{Labels: []string{"app=orders"}}, []string{"old=old", "pg1=x-pg1"}},
		{"by two labels: both", Query{Labels: []string{"app=orders", "tier=db"}}, []string{"pg1=x-pg1"}},
		{"by a label's key", Query{Labels: []string{"tier"}}, []string{"pg1=x-pg1"}},
		{"by an empty value: that value only", Query{Labels: []string{"tier="}}, nil},
		{"by compose project, without one-off runs", Query{Compose: "shop"}, []string{"shop-db-1=shop-db-1", "shop-db-2=shop-db-2", "shop-web-1=shop-web-1"}},
		{"by service within the project", Query{Compose: "shop", Names: []string{"web"}}, []string{"shop-web-1=shop-web-1"}},
		{"by the container's name", Query{Names: []string{"y-pg1", "old"}}, []string{"old=old", "pg1=y-pg1"}},
		{"by the node's name, made plain by a label", Query{Names: []string{"pg1"}, Labels: []string{"app=billing"}}, []string{"pg1=y-pg1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := choose(c.q)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestASelectionThatIsNotPlainIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"a name of two nodes", Query{Names: []string{"pg1"}}, `"pg1" is ambiguous: it means x-pg1, y-pg1`},
		{"a service of two containers", Query{Compose: "shop", Names: []string{"db"}}, "it means shop-db-1, shop-db-2"},
		{"a service without its project", Query{Names: []string{"web"}}, "no node matches name web; containers that are running: shop-db-1,"},
		{"two nodes of one name", Query{Labels: []string{LabelNode}}, `are both called "pg1"`},
		{"one container twice", Query{Names: []string{"x-pg1", "x-pg1"}}, "another name means already"},
		{"a name outside the label", Query{Names: []string{"x-pg1"}, Labels: []string{"app=billing"}}, "no node matches label app=billing and name x-pg1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := choose(c.q)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
}

func TestALongListOfContainersIsCut(t *testing.T) {
	var many []found
	for range 25 {
		many = append(many, found{name: "c", state: "running"})
	}
	if got := running(many); !strings.HasSuffix(got, "and 5 more") {
		t.Errorf("got %q", got)
	}
	if got := running(nil); got != "none" {
		t.Errorf("got %q, want none", got)
	}
}
