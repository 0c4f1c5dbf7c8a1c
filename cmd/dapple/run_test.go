package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/verdict"
)

func TestAFileIsInOneShardAndANewFileMovesNoOther(t *testing.T) {
	var files []namedScenario
	for i := range 40 {
		files = append(files, namedScenario{id: fmt.Sprintf("dir/scenario-%d.yaml", i)})
	}
	of := map[string]int{}
	for i := 1; i <= 4; i++ {
		part := shard(files, i, 4)
		if len(part) == 0 {
			t.Errorf("part %d of 4 is empty, of 40 files", i)
		}
		for _, f := range part {
			if of[f.id] != 0 {
				t.Errorf("%s is in two parts", f.id)
			}
			of[f.id] = i
		}
	}
	if len(of) != len(files) {
		t.Errorf("%d of %d files are in a part", len(of), len(files))
	}
	more := slices.Insert(slices.Clone(files), 3, namedScenario{id: "dir/a-new-one.yaml"})
	for i := 1; i <= 4; i++ {
		for _, f := range shard(more, i, 4) {
			if was := of[f.id]; was != 0 && was != i {
				t.Errorf("%s moved from part %d to %d", f.id, was, i)
			}
		}
	}
}

func TestOnlyAVerdictIsForgivenByExitZeroAndFailOn(t *testing.T) {
	left := drills.Record{Verdict: verdict.Fail, ExitCode: 6, Trials: []verdict.Trial{{Leftovers: []verdict.Left{{What: "x"}}}}}
	rec := func(v verdict.Verdict) drills.Record {
		return drills.Record{Verdict: v, ExitCode: verdict.ExitCode(v, false)}
	}
	tool := errors.New("the agent is gone")
	all, some := failOn{exitZero: true}, failOn{list: []string{"fail", "invalid"}}
	for _, c := range []struct {
		name string
		rec  drills.Record
		err  error
		f    failOn
		want int
	}{
		{"fail", rec(verdict.Fail), nil, failOn{}, 1},
		{"fail, exit zero", rec(verdict.Fail), nil, all, 0},
		{"guardrail, exit zero", rec(verdict.Aborted), nil, all, 0},
		{"inconclusive, exit zero", rec(verdict.Inconclusive), nil, all, 0},
		{"left in place, exit zero", left, nil, all, 6},
		{"interrupted, exit zero", rec(verdict.Aborted), errInterrupted, all, 4},
		{"dapple could not, exit zero", rec(verdict.Invalid), tool, all, 4},
		{"a proven miss and dapple could not, exit zero", rec(verdict.Fail), tool, all, 1},
		{"a verdict that is not known, exit zero", rec("odd"), nil, all, 5},
		{"fail on fail", rec(verdict.Fail), nil, some, 1},
		{"invalid on invalid", rec(verdict.Invalid), nil, some, 5},
		{"inconclusive, not on it", rec(verdict.Inconclusive), nil, some, 0},
		{"pass", rec(verdict.Pass), nil, some, 0},
	} {
		if got := codeOrPass(result(c.rec, c.err, c.f)); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

func TestScenariosAreFoundByFileFolderAndNameOfTheLibrary(t *testing.T) {
	for name, want := range map[string]struct {
		several bool
		first   string
	}{
		"etcd/leader-kill.yaml":   {false, "etcd/leader-kill.yaml"},
		"etcd":                    {true, "scenarios/library/etcd/follower-kill.yaml"},
		"scenarios/library/etcd/": {true, "scenarios/library/etcd/follower-kill.yaml"},
		"../../scenarios/library": {true, "../../scenarios/library/etcd/follower-kill.yaml"},
		"nowhere.yaml":            {false, "nowhere.yaml"},
	} {
		got, err := findScenarios([]string{name})
		if err != nil || got.several != want.several || len(got.files) == 0 || got.files[0].name != want.first {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := findScenarios([]string{"a.yaml", "b.yaml"}); err != nil || !got.several || len(got.files) != 2 {
		t.Errorf("two files: %+v, %v", got, err)
	}
}
