package host

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets"
)

func TestWhatCannotBeANodeIsRefused(t *testing.T) {
	for want, c := range map[string]Config{
		"exclude each other":       {Unit: "a.service", PIDFile: "/run/a.pid"},
		"no name of a service":     {Unit: "-.service"},
		`"--now" is no name`:       {Unit: "--now"},
		`"a.timer" is no name`:     {Unit: "a.timer"},
		`"a b.service" is no name`: {Unit: "a b.service"},
		"no absolute path":         {PIDFile: "run/a.pid"},
		"belongs to a pidfile":     {Unit: "a.service", Start: []string{"/bin/true"}},
		`"pg_ctl" is no absolute`:  {PIDFile: "/run/a.pid", Start: []string{"pg_ctl"}},
	} {
		if n, err := New("a", c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, %v; want %q", c, n, err, want)
		}
	}
}

func TestANodeCanDoWhatItsConfigAllowsAndIsOpenedAgainAsTheSame(t *testing.T) {
	for name, tc := range map[string]struct {
		c                      Config
		processes, starter, ns bool
	}{
		"address":           {Config{Addresses: []string{"192.0.2.1"}}, false, false, false},
		"pidfile":           {Config{PIDFile: "/run/a.pid"}, true, false, true},
		"pidfile and start": {Config{PIDFile: "/run/a.pid", Start: []string{"/bin/a", "b c"}}, true, true, true},
		"unit":              {Config{Unit: `postgresql@15-main.service`}, true, true, true},
		"escaped unit":      {Config{Unit: `a\x2db.service`}, true, true, true},
	} {
		n, err := New("a", tc.c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := json.Marshal(n.Spec())
		if err != nil {
			t.Fatal(err)
		}
		var spec targets.Spec
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		again, err := Opener().Open(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(n.Spec(), again.(targets.Portable).Spec()); d != "" {
			t.Errorf("%s: (-made +opened) %s", name, d)
		}
		_, processes := again.(targets.Processes)
		_, starter := again.(targets.Starter)
		_, fencer := again.(targets.Fencer)
		_, ns := again.(targets.NetNS)
		if processes != tc.processes || starter != tc.starter || fencer != tc.starter || ns != tc.ns {
			t.Errorf("%s: processes %v, starter %v, fencer %v, namespace %v", name, processes, starter, fencer, ns)
		}
	}
	if _, err := Opener().Open(t.Context(), targets.Spec{Kind: "docker", Name: "a"}); err == nil {
		t.Error("a container was opened as a service of this machine")
	}
}

func TestAnAddressRunsNothing(t *testing.T) {
	n, err := New("a", Config{Addresses: []string{"192.0.2.1", "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Exec(t.Context(), "true"); !errors.Is(err, targets.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	all, err := n.(targets.Addresser).Addresses(t.Context())
	if err != nil || len(all) < 2 || all[0] != "192.0.2.1" || all[1] != "127.0.0.1" && all[1] != "::1" {
		t.Errorf("%v, %v", all, err)
	}
}

func TestTheCommandThatStartsItCanBeTypedByAPerson(t *testing.T) {
	k := pidfile{argv: []string{"/usr/sbin/runuser", "-u", "postgres", "--", "pg_ctl", "-o", "-p 5433", "it's"}}
	if got, want := k.byHand(), `/usr/sbin/runuser -u postgres -- pg_ctl -o '-p 5433' 'it'\''s'`; got != want {
		t.Errorf("got %s", got)
	}
}
