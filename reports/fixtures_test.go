package reports

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

func f64(v float64) *float64 { return &v }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func patroniScript(n int, detect float64) *script {
	s := &script{n: n, old: "pg1", new: "pg2", nodes: []string{"pg1", "pg2", "pg3"}, fault: killFault, observer: "patroni/etcd"}
	if n%2 == 0 {
		s.old, s.new = "pg2", "pg1"
	}
	s.inject, s.effect = seconds(15.4), seconds(15.4006)
	s.detect = s.effect + seconds(detect)
	s.elect = s.detect + seconds(0.061+0.03*detect/20)
	s.promote = s.elect + seconds(0.94+0.2*float64(n%3))
	s.firstAck = s.promote + seconds(0.83-0.3*float64(n%2))
	s.revert, s.rejoin, s.redundant, s.end = s.inject+seconds(60), s.inject+seconds(67.3), s.inject+seconds(68.9), s.inject+seconds(103)
	return s
}

func patroniRecord() drills.Record {
	zero := int64(0)
	return drills.Record{Schema: drills.Schema, Run: "20261103T140211-patroni-primary-kill-7QK2",
		Drill:  drills.DrillInfo{Name: "patroni primary kill", Why: "Losing the primary must cost at most the declared RTO and no acknowledged write.", ScenarioSHA256: strings.Repeat("ab12", 16), ScenarioFile: "scenarios/library/patroni/primary-kill.yaml"},
		Dapple: drills.ToolInfo{Version: "v0.1.0"}, Started: fixtureBase, Finished: fixtureBase.Add(381 * time.Second),
		System: drills.SystemInfo{Name: "orders-db", Kind: "patroni", Environment: "staging", Versions: map[string]string{"patroni": "4.0.4", "postgresql": "17.6", "etcd": "3.5.16"},
			Settings: map[string]string{"ttl": "30s", "loop_wait": "10s", "retry_timeout": "10s", "synchronous_mode": "on", "maximum_lag_on_failover": "1 MiB"},
			Design:   scenarios.Design{Pattern: "active-passive", Detection: "lease", State: "replicated-sync", Recovery: "automatic"},
			Nodes:    []drills.NodeInfo{{Name: "pg1", Role: "primary"}, {Name: "pg2", Role: "replica"}, {Name: "pg3", Role: "replica"}}},
		Objectives: drills.Objectives{DetectionMS: f64(35000), RTOMS: f64(60000), RPOWrites: &zero, SplitBrain: "never", RejoinMS: f64(120000), RedundancyMS: f64(300000)},
		Verdict:    verdict.Pass, Seed: 42, Operator: "ada",
		Notes: []string{"ttl is 30 s: loop_wait and retry_timeout are within Patroni's clamps", "worst and best phase are not available for this kind yet"},
		Scenario: drills.Facts{RatePerS: 200, Clients: 4, SteadyMS: 15000, SettleMS: 120000, StableForMS: 10000, FullForMS: 30000, AppReconnectMS: 3500, FreshPeriodMS: 20,
			Steps: []drills.StepFacts{{Inject: "kill", On: []string{"primary"}, With: map[string]string{"signal": "KILL", "process": "main", "mode": "crash"}, ForMS: 60000, Phase: "random"}}}}
}

func met(p *player, t *verdict.Trial) {
	m := t.Metrics
	t.Findings = []verdict.Finding{
		{Objective: "detection", Want: "≤ 35s", Got: "20.1s", Outcome: verdict.Met, Events: m.Detection.Events},
		{Objective: "rto", Want: "≤ 60s", Got: "21.9s", Outcome: verdict.Met, Events: m.RTO.Events},
		{Objective: "rpo", Want: "0 writes", Got: fmt.Sprintf("0 of %d lost, every unknown decided", m.Loss.Acked), Outcome: verdict.Met, Events: m.Loss.Events},
		{Objective: "split_brain", Want: "never", Got: "proven not to have happened", Outcome: verdict.Met, Events: m.SplitBrain.Events},
		{Objective: "rejoin", Want: "≤ 2m", Got: "", Outcome: verdict.Met, Events: m.Rejoin.Events},
		{Objective: "redundancy", Want: "≤ 5m", Got: "", Outcome: verdict.Met, Events: m.Redundancy.Events},
		{Objective: "order", Want: "effect ≤ detect ≤ elect ≤ promote ≤ first ack", Got: "holds", Outcome: verdict.Met, Events: p.ev("effect", "detect", "elect", "promote", "first")},
	}
}

// patroniKill is a drill of three trials that passes.
func patroniKill(testing.TB) Run {
	r := Run{Record: patroniRecord(), Dir: "runs/x"}
	next := 0
	for i, d := range []float64{21.37, 24.81, 20.52} {
		p := play(patroniScript(i+1, d), next)
		t := p.trial()
		met(p, &t)
		r.add(p, t)
		next = p.rec.Next()
	}
	r.summarize()
	return r
}

func (r *Run) add(p *player, t verdict.Trial) {
	r.Record.Trials = append(r.Record.Trials, t)
	r.Timeline = append(r.Timeline, p.rec.Timeline()...)
}

// summarize is what drills does after the last trial.
func (r *Run) summarize() {
	rec := &r.Record
	rec.Series, rec.Verdict, rec.Claim, rec.Reason = verdict.Summarize(rec.Trials)
	rec.ExitCode = verdict.ExitCode(rec.Verdict, false)
}

// patroniInvalid is the same with a fourth trial that is invalid.
func patroniInvalid(t testing.TB) Run {
	r := patroniKill(t)
	s := patroniScript(4, 30)
	p := play(s, len(r.Timeline))
	bad := p.trial()
	bad.Verdict, bad.Reason = verdict.Invalid, "kill on pg2 had no effect: pid 4711 still answers after 5 s"
	bad.Faults[0].Effect, bad.Faults[0].Proof = nil, ""
	bad.Metrics = verdict.Metrics{Workload: p.workload(), Reasons: map[string]string{"rto": "there was no effect"}}
	bad.Findings = []verdict.Finding{{Objective: "effect", Want: "proof within 5s", Got: "none", Outcome: verdict.Unproven, Text: "The fault was never proven to hold.", Events: p.ev("inject")}}
	r.add(p, bad)
	r.summarize()
	return r
}

// splitBrain is one trial in which a frozen manager leaves two primaries.
func splitBrain(testing.TB) Run {
	r := Run{Record: patroniRecord()}
	rec := &r.Record
	rec.Run, rec.Drill.Name = "20261103T151900-agent-freeze-M3XA", "patroni agent freeze"
	rec.Drill.Why = "A frozen manager must not leave two primaries that both take writes."
	why := "split-brain L3: pg1 and pg2 both acknowledged writes for 37.9 s, and 612 of them are gone"
	rec.System.Settings["synchronous_mode"] = "off"
	rec.Scenario.Steps[0] = drills.StepFacts{Inject: "kill", On: []string{"primary"}, With: map[string]string{"signal": "STOP", "process": "manager"}, ForMS: 60000, Phase: "random"}
	s := patroniScript(1, 20.2)
	s.oldWrites = true
	s.fault = func(s *script) verdict.Fault {
		return verdict.Fault{Kind: "kill", Node: s.old, Does: "SIGSTOP to pid 812 (patroni)", Proof: "/proc/812/stat says T (stopped)"}
	}
	p := play(s, 0)
	t := p.trial()
	t.Verdict, t.Reason = verdict.Fail, why
	b := p.emit(s.revert-2*time.Second, 2*time.Millisecond, timeline.Event{Kind: timeline.Write, By: "old/pg1", Node: "pg1", Epoch: "1", Value: "acked", Evidence: "INSERT 0 1"})
	fork := p.emit(s.rejoin, time.Millisecond, timeline.Event{Kind: timeline.Forked, By: "postgres", Node: "pg1", Value: "timeline 1 is no ancestor of timeline 2 after 0/5A3C118", Evidence: "pg_rewind: servers diverged at WAL location 0/5A3C118 on timeline 1"})
	m := &t.Metrics
	m.SplitBrain = verdict.SplitBrain{Level: 3, Overlap: &verdict.OverlapMS{LoMS: 37873.2, HiMS: 37918.9}, Events: []int{p.ids["promote"], b, fork}}
	m.FenceLag = &verdict.Metric{LoMS: 37873.2, HiMS: 37918.9, Events: []int{p.ids["promote"], b}}
	l := m.Loss
	l.Lost, l.LostAfterPromote, l.RPOLoMS, l.RPOHiMS, l.LostIDsFile = 612, 612, 37850, 37921, "ledger/lost-1.txt"
	for i := range 612 {
		id := fmt.Sprintf("%d/%d", i%4, 2200+i/4)
		l.LostIDs = append(l.LostIDs, id)
		l.Events = append(l.Events, p.emit(s.promote+time.Duration(i)*60*time.Millisecond, 2*time.Millisecond,
			timeline.Event{Kind: timeline.Lost, By: "app/" + id[:1], Node: "pg1", Epoch: "1", Value: id, Evidence: "A2: absent on pg2"}))
	}
	m.Outages = m.Outages[1:]
	m.Outages = append(m.Outages, verdict.Outage{Class: "app", Client: "app/1", LoMS: 900, HiMS: 1204, Censored: true, Events: p.ev("revert"), At: [2]float64{ms(s.revert), ms(s.revert) + 1204}})
	met(p, &t)
	t.Findings[2] = verdict.Finding{Objective: "rpo", Want: "0 writes", Got: "612 of 25,804 lost", Outcome: verdict.Missed, Events: l.Events, Text: "all of them acknowledged by pg1 after pg2 was promoted"}
	t.Findings[3] = verdict.Finding{Objective: "split_brain", Want: "never", Got: "L3 divergent, 37.9 s", Outcome: verdict.Missed, Events: m.SplitBrain.Events}
	t.Findings = append(t.Findings, verdict.Finding{Objective: "dual claim", Severity: "warning", Text: "pg1 and pg2 both claimed to be primary for 38.8 s.", Outcome: verdict.Informational, Events: p.ev("promote")})
	t.Leftovers = []verdict.Left{{What: "the ledger's table dapple_7qk2", Node: "pg2", Command: "psql -c 'drop table dapple_7qk2'"}}
	r.add(p, t)
	r.summarize()
	rec.ExitCode = 6
	return r
}

// etcdDemo is the embedded demo: short, and with the failover in its middle.
func etcdDemo(testing.TB) Run {
	r := Run{Record: patroniRecord()}
	rec := &r.Record
	rec.Run, rec.Drill = "20261103T120001-etcd-leader-kill-0F3Z", drills.DrillInfo{Name: "etcd leader kill", Why: "Losing the leader must cost less than 5 s and no acknowledged write.", ScenarioSHA256: strings.Repeat("cd34", 16)}
	rec.System = drills.SystemInfo{Name: "demo", Kind: "etcd", Environment: "ci", Versions: map[string]string{"etcd": "3.7.3"}, Settings: map[string]string{"heartbeat-interval": "100ms", "election-timeout": "1s"},
		Nodes: []drills.NodeInfo{{Name: "m1", Role: "primary"}, {Name: "m2", Role: "replica"}, {Name: "m3", Role: "replica"}}}
	zero := int64(0)
	rec.Objectives = drills.Objectives{DetectionMS: f64(3000), RTOMS: f64(5000), RPOWrites: &zero, SplitBrain: "never", RejoinMS: f64(10000)}
	rec.Notes, rec.Finished = nil, rec.Started.Add(28*time.Second)
	s := &script{n: 1, old: "m1", new: "m3", nodes: []string{"m1", "m2", "m3"}, observer: "etcd/status",
		fault: func(s *script) verdict.Fault {
			return verdict.Fault{Kind: "kill", Node: s.old, Does: "SIGKILL to pid 90211 (dapple)", Proof: "pid 90211 is gone (pidfd)"}
		},
		inject: seconds(5), effect: seconds(5.0004), detect: seconds(6.21), elect: seconds(6.264), promote: seconds(6.281), firstAck: seconds(6.302),
		revert: seconds(13), rejoin: seconds(13.6), redundant: seconds(13.7), end: seconds(24)}
	p := play(s, 0)
	t := p.trial()
	t.Metrics.Expectation = map[string]verdict.Expected{"detection": {MinMS: 1000, MaxMS: 2000, Why: "election timeout, randomised in [1, 2) of it", Class: "inside"}}
	met(p, &t)
	t.Findings = t.Findings[:5]
	r.add(p, t)
	r.summarize()
	return r
}

// inconclusive is the demo measured too coarsely.
func inconclusive(tb testing.TB) Run {
	r := etcdDemo(tb)
	t := &r.Record.Trials[0]
	why := "rto: measured between 4.2 s and 6.1 s, which does not tell whether it was within 5 s"
	t.Verdict, t.Reason = verdict.Inconclusive, why
	t.Metrics.RTO.LoMS, t.Metrics.RTO.HiMS = 4204, 6100
	t.Findings[1].Outcome = verdict.Unproven
	t.Findings[1].Text = "Use a probe period of at most 240 ms."
	r.summarize()
	return r
}
