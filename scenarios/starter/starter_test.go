package starter_test

import (
	"testing"

	injectors "github.com/dapple-drills/dapple/injectors/all"
	probes "github.com/dapple-drills/dapple/probes/all"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/starter"
)

func words() *scenarios.Vocabulary {
	v := &scenarios.Vocabulary{}
	for _, k := range injectors.Kinds() {
		v.Injectors = append(v.Injectors, scenarios.InjectorWord{Name: k.Name, Params: k.Params, Excludes: k.Excludes,
			Check: func(p scenarios.Params) error { _, err := k.New(p.Decode); return err }})
	}
	for _, k := range probes.Kinds() {
		v.Kinds = append(v.Kinds, scenarios.KindWord{Name: k.Name, Phases: k.Lock, Settings: scenarios.Section{Params: k.Settings}})
	}
	return v
}

// systems are one of each kind and place, with names that want to be more than
// names.
func systems() []starter.System {
	odd := "a\"b: {c}\n# d\\ \x00é"
	return []starter.System{
		{Name: "orders", Kind: "patroni", Found: "Patroni of scope orders", Docker: &starter.Docker{Label: "app=orders"}, DSN: "postgres://app@pg1,pg2/orders?target_session_attrs=read-write",
			Health: "http://{node}:8008/primary", Settings: []starter.Setting{{Name: "scope", Value: `"orders"`}, {Name: "etcd", Value: `["http://127.0.0.1:2379"]`, Comment: "guessed"}}, Guesses: []string{"the etcd"}},
		{Name: "registry", Kind: "etcd", Found: "etcd", DSN: "http://127.0.0.1:2379", Nodes: []starter.Node{{Name: "n1", URL: "http://127.0.0.1:2379"}}},
		{Name: "plain", Kind: "postgres", Docker: &starter.Docker{Compose: "shop", Names: []string{"db1", "db2"}}, DSN: "postgres://app@127.0.0.1/app"},
		{Name: odd, Kind: "etcd", Found: odd, Guesses: []string{odd}, Docker: &starter.Docker{Compose: odd, Names: []string{odd}, Label: odd}, DSN: "http://127.0.0.1:2379"},
	}
}

func TestWhatIsWrittenPassesTheCheckWhateverTheNamesAre(t *testing.T) {
	for _, s := range systems() {
		data, err := s.SystemFile()
		if err != nil {
			t.Fatal(err)
		}
		sys, err := scenarios.ParseSystem("system.yaml", data, words())
		if err != nil {
			t.Errorf("%v\n%s", err, data)
			continue
		}
		if sys.Name != s.Name || sys.Kind != s.Kind {
			t.Errorf("it reads back as %q, %s", sys.Name, sys.Kind)
		}
		if o := sys.Objectives; o.RTO != nil || o.RPO != nil || o.SplitBrain != nil {
			t.Error("it promises something that nobody promised")
		}
		data, err = s.ScenarioFile()
		if err != nil {
			t.Fatal(err)
		}
		sc, err := scenarios.ParseScenario("scenario.yaml", data, words())
		if err != nil {
			t.Errorf("%v\n%s", err, data)
			continue
		}
		if err := scenarios.CheckPair(sc.WithDefaults(), sys.WithDefaults()); err != nil && s.Docker != nil {
			t.Errorf("they do not fit: %v\n%s", err, data)
		}
	}
}
