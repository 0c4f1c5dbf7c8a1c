package testcluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/scenarios"
)

func TestThePostgreSQLClustersDeclareWhatCanBePromised(t *testing.T) {
	for _, k := range postgresKinds() {
		o := k.Objectives
		want := time.Minute
		if k.Name == "postgres" {
			want = 15 * time.Minute // a person
		}
		// Nothing in the system watches the primary: a detection is not promised.
		if k.Kind != "postgres" || *o.RTO != scenarios.Duration(want) || *o.RPO.Writes != 0 || !bool(*o.SplitBrain) || o.Detection != nil {
			t.Errorf("%s: %+v", k.Name, o)
		}
	}
}

func TestTheNodesOfAPostgreSQLClusterAreConfiguredAsPromised(t *testing.T) {
	for _, c := range []struct {
		name      string
		v         postgres
		node      int
		has, lack []string
		env, not  []string
	}{
		{"by a person", postgres{}, 2, []string{"synchronous_standby_names = 'ANY 1 (pg1, pg2, pg3)'", "host=10.213.1.11,10.213.1.12,10.213.1.13 port=5432", "cluster_name = 'pg2'"}, nil,
			[]string{"DAPPLE_FIRST=pg1", "DAPPLE_PEERS=10.213.1.11 10.213.1.13", "DAPPLE_STANDBYS=2"}, []string{"DAPPLE_FAILURES", "DAPPLE_ANY", "DAPPLE_AUTOSTART", "DAPPLE_RELAY_DELAY"}},
		{"by a script", postgres{script: true}, 1, nil, nil, []string{"DAPPLE_FAILURES=3"}, []string{"DAPPLE_ANY"}},
		{"asynchronous and late", postgres{async: true, delay: relayDelay}, 1, []string{"synchronous_standby_names = ''", "port=5433"}, nil, []string{"DAPPLE_RELAY_DELAY=2"}, nil},
		{"the second is in time", postgres{first: true, any: true, delay: relayDelay, lastLate: true}, 2, []string{"FIRST 1 (pg1, pg2, pg3)", "port=5432"}, []string{"port=5433"}, []string{"DAPPLE_ANY=yes"}, nil},
		{"the third is late", postgres{first: true, any: true, delay: relayDelay, lastLate: true}, 3, []string{"port=5433"}, nil, nil, nil},
		{"back as it was", postgres{autostart: true}, 1, nil, nil, []string{"DAPPLE_AUTOSTART=yes"}, nil},
	} {
		s := &postgresStart{postgres: c.v, run: madeRun()}
		p, err := s.node(c.node)
		if err != nil {
			t.Fatal(err)
		}
		text := p.files["/etc/dapple/postgresql.conf"]
		for _, want := range c.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", c.name, want, text)
			}
		}
		for _, not := range c.lack {
			if strings.Contains(text, not) {
				t.Errorf("%s has %q:\n%s", c.name, not, text)
			}
		}
		var env []string
		for name, value := range p.env {
			env = append(env, name+"="+value)
			if slices.Contains(c.not, name) {
				t.Errorf("%s has %s=%s", c.name, name, value)
			}
		}
		for _, want := range c.env {
			if !slices.Contains(env, want) {
				t.Errorf("%s lacks %s: %v", c.name, want, env)
			}
		}
		for _, program := range []string{"run-postgres", "promote", "failover-script"} {
			if !strings.HasPrefix(p.programs["/etc/dapple/"+program], "#!/bin/sh\n") {
				t.Errorf("%s lacks the program %s", c.name, program)
			}
		}
	}
}

func TestTheSystemFileOfAPostgreSQLClusterSaysWhoPromotes(t *testing.T) {
	r := madeRun()
	for name, want := range map[string]map[string]string{
		"postgres":        {"postgres_port": "5432", "synchronous": "on"},
		"postgres-script": {"postgres_port": "5432", "synchronous": "on", "failover": "every 1s failures 3 timeout 1s"},
		"postgres-async":  {"postgres_port": "5432", "failover": "every 1s failures 3 timeout 1s"},
	} {
		v := map[string]postgres{"postgres": {}, "postgres-script": {script: true}, "postgres-async": {script: true, async: true}}[name]
		sys, err := v.system(Info{Name: name}, r.place, r.o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, sys.Settings.Map()); d != "" {
			t.Errorf("%s: settings (-want +got):\n%s", name, d)
		}
		if want := "postgres://app@10.213.1.11,10.213.1.12,10.213.1.13/app?sslmode=disable&target_session_attrs=read-write"; sys.Clients.DSN != want {
			t.Errorf("%s, want %s", sys.Clients.DSN, want)
		}
	}
}
