package proof

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios/library"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

func TestEveryRowNamesAScenarioAndClustersThatThereAre(t *testing.T) {
	var clusters []string
	for _, c := range testcluster.Names() {
		clusters = append(clusters, c.Name)
	}
	for _, r := range rows() {
		if _, _, err := library.Find(r.scenario); err != nil {
			t.Errorf("row %d: %v", r.no, err)
		}
		for _, c := range []string{r.good, r.bad} {
			if !slices.Contains(clusters, c) {
				t.Errorf("row %d: no cluster is called %s", r.no, c)
			}
		}
		if r.good == r.bad || r.setting == "" || r.signature.words == "" {
			t.Errorf("row %d says too little: %+v", r.no, r)
		}
	}
}

func TestEveryBadVariantHasARowThatCatchesIt(t *testing.T) {
	// By the drills of the end-to-end tests; etcd-netns is sound, and etcd elsewhere;
	// postgres waits for a person, of whom there is none in a proof; patroni-ttl20 is
	// for series of which each drill is short.
	elsewhere := []string{"patroni-async-lag", "etcd-netns", "patroni-ttl20", "postgres"}
	for _, c := range testcluster.Names() {
		used := slices.ContainsFunc(rows(), func(r row) bool { return r.good == c.Name || r.bad == c.Name })
		if !used && !slices.Contains(elsewhere, c.Name) {
			t.Errorf("cluster %s is in no row", c.Name)
		}
	}
}

// telling is a record that tells of every mistake at once.
func telling() drills.Record {
	return drills.Record{
		Verdict: verdict.Fail, Reason: "rto: missed", Notes: []string{"the settings alone predict an outage of at least 100.0 s, more than the declared RTO of 1m0s"},
		Trials: []verdict.Trial{{
			Metrics: verdict.Metrics{
				Loss: &verdict.Loss{Lost: 3, LostDegraded: 2}, SplitBrain: verdict.SplitBrain{Level: 2, Reason: "both took writes"},
				FalseGreen: &verdict.Metric{LoMS: 1500, HiMS: 1600},
			},
			Findings: []verdict.Finding{
				{Objective: "rto", Want: "≤ 60 s", Got: "at least 80 s", Outcome: verdict.Missed},
				{Objective: "rpo", Want: "≤ 5 s", Got: "9 writes, the oldest 50 s old", Outcome: verdict.Missed},
				{Objective: "rejoin", Want: "≤ 60 s", Got: "never", Outcome: verdict.Missed},
				{Objective: "failover", Want: "no", Got: "failover m1 → m2", Outcome: verdict.Missed},
				{Objective: "settings", Want: "declared = effective", Got: "ttl: declared 5, effective 20"},
				{Objective: "expectation", Want: "detection 20 s to 31 s", Got: "33 s, slower than model: lease refreshed"},
			},
		}},
	}
}

func TestASignatureIsSeenWhereItIsAndNowhereElse(t *testing.T) {
	clean := drills.Record{Verdict: verdict.Pass, Trials: []verdict.Trial{{
		Metrics: verdict.Metrics{Loss: &verdict.Loss{}, FalseGreen: &verdict.Metric{HiMS: 20}},
		Findings: []verdict.Finding{
			{Objective: "rto", Want: "≤ 60 s", Got: "33 s", Outcome: verdict.Met},
			{Objective: "expectation", Want: "rto 20 s to 31 s", Got: "33 s, slower than model: lease refreshed"},
			{Objective: "settings", Want: "declared = effective", Got: "loop_wait: declared 10, effective 1"},
		},
	}}}
	for _, r := range rows() {
		if said, ok := r.signature.seen(telling()); !ok || said == "" {
			t.Errorf("row %d: %q is not seen", r.no, r.signature.words)
		}
		if said, ok := r.signature.seen(clean); ok {
			t.Errorf("row %d: %q is seen in a drill that passed: %s", r.no, r.signature.words, said)
		}
		if _, ok := r.signature.seen(drills.Record{}); ok {
			t.Errorf("row %d: %q is seen in nothing", r.no, r.signature.words)
		}
	}
}

func TestADrillThatCouldNotTellCountsForNobody(t *testing.T) {
	quiet := drills.Record{Verdict: verdict.Inconclusive, Reason: "too coarse"}
	pass := drills.Record{Verdict: verdict.Pass}
	r := result{row: rows()[1]}
	for _, rec := range []drills.Record{telling(), quiet, pass} {
		r.count(rec, true)
		r.count(rec, false)
	}
	if r.twin() != "caught 1 of 3, missed 1 of 3, not told 1 of 3" {
		t.Errorf("the twin: %s", r.twin())
	}
	if r.sound() != "silent 1 of 3, alarm 1 of 3, not told 1 of 3" {
		t.Errorf("the sound one: %s", r.sound())
	}
	err := failures([]result{r})
	for _, want := range []string{"was not caught", "raised an alarm", "told nothing: inconclusive: too coarse"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func TestWhereTheOutageEndsWithTheFaultOneObjectiveDecides(t *testing.T) {
	quiet := func(o verdict.Outcome) drills.Record {
		return drills.Record{Verdict: verdict.Inconclusive, Reason: "rto: censored", Trials: []verdict.Trial{{
			Findings: []verdict.Finding{{Objective: "failover", Want: "no", Got: "no failover", Outcome: o}},
		}}}
	}
	i := slices.IndexFunc(rows(), func(r row) bool { return r.clears == "failover" })
	r := result{row: rows()[i]}
	r.count(quiet(verdict.Met), false)
	r.count(quiet(verdict.Unproven), false)
	if r.sound() != "silent 1 of 2, not told 1 of 2" {
		t.Errorf("%s", r.sound())
	}
	other := result{row: rows()[0]}
	other.count(quiet(verdict.Met), false)
	if other.sound() != "not told 1 of 1" {
		t.Errorf("a row that its verdict decides: %s", other.sound())
	}
}

func TestTheTrackRecordIsWrittenFromTheRecordsAndNamesTheCommand(t *testing.T) {
	dir := t.TempDir()
	for cluster, rec := range map[string]drills.Record{"patroni-async": telling(), "patroni": {Verdict: verdict.Pass}} {
		rec.Schema = drills.Schema
		rec.System.Versions = map[string]string{"postgresql": "17.6", "patroni": "4.0.6"}
		run := filepath.Join(dir, "patroni-agent-freeze@"+cluster, "1")
		if err := os.MkdirAll(run, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := drills.WriteRecord(run, rec); err != nil {
			t.Fatal(err)
		}
	}
	p := Proof{Runs: dir, Out: filepath.Join(dir, "track-record.md"), Rows: "3", N: 1, Read: true, Say: func(line string) { t.Log(line) }}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(p.Out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 3 | patroni/agent-freeze | patroni-async: synchronous_mode: false, watchdog: off | split-brain of level 2 or more | caught 1 of 1 | patroni: silent 1 of 1 |",
		"dapple run scenarios/library/patroni/agent-freeze.yaml --on cluster:patroni-async", "patroni 4.0.6, postgresql 17.6", "both took writes",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the track record lacks %q:\n%s", want, text)
		}
	}
	p.Rows = "3,99"
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `no row "99"`) {
		t.Errorf("got %v for a row that is not there", err)
	}
}
