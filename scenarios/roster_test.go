package scenarios_test

import (
	"testing"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
)

func TestARosterSaysWhoIsOnCallForWhat(t *testing.T) {
	r, err := scenarios.ParseRoster("roster.yaml", []byte(`
people:
  - name: Ada Lovelace
    contact: ada@example.org
    on_call: [orders, users]
    logins: [ada, root]
  - name: Grace Hopper
    contact: "#db-oncall"
    on_call: [orders]
    since: 2026-11-02
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.OnCall("orders"); len(got) != 2 || got[1].Name != "Grace Hopper" {
		t.Errorf("%+v", got)
	}
	if got := r.OnCall("nobody's"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	p, ok := r.Person("Grace Hopper")
	if !ok || !p.Since.Time().Equal(time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)) || p.Since.String() != "2026-11-02" {
		t.Errorf("%+v", p)
	}
	if _, ok := r.Person("Alan Turing"); ok {
		t.Error("he is not in it")
	}
}

func TestARosterIsCheckedAsWhatItIs(t *testing.T) {
	for data, ok := range map[string]bool{"people: [{name: Ada, contact: a@example.org}]\n": true, "people: [{name: Ada}]\n": false} {
		if kind, err := scenarios.Check("roster.yaml", []byte(data), nil); kind != scenarios.IsRoster || (err == nil) != ok {
			t.Errorf("%q: %q, %v", data, kind, err)
		}
	}
}
