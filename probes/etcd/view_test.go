package etcd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// looks writes what members answered in one column each, a line per 25 ms:
// "A2" is leader A in term 2, "-2" no leader, "." no answer. Each look takes 1 ms.
func looks(t *testing.T, script string) []string {
	t.Helper()
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(x time.Time) int64 { return x.Sub(base).Milliseconds() }
	var got []string
	end := ""
	to := &report{
		called: func(id uint64) string {
			if id == 0 {
				return "none"
			}
			return string(rune(id))
		},
		leads: map[uint64]uint64{},
		emit: func(lo, hi time.Time, e timeline.Event) int {
			if e.Kind != timeline.Leader || e.Evidence == "" {
				t.Errorf("event %+v", e)
			}
			word := ""
			if strings.HasPrefix(e.Evidence, "skipped") {
				word = " skipped"
			}
			got = append(got, fmt.Sprintf("%s: %s%s [%d %d]%s", e.By, e.Node, e.Epoch, at(lo), at(hi), word+end))
			return 0
		},
	}
	var views []*view
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		for j, word := range strings.Fields(line) {
			if len(views) <= j {
				views = append(views, &view{by: string(rune('x' + j)), to: to})
			}
			asked := base.Add(time.Duration(i) * 25 * time.Millisecond)
			l := look{asked: asked, told: asked.Add(time.Millisecond)}
			if word != "." {
				l.ok = true
				if word[0] != '-' {
					l.leader = uint64(word[0])
				}
				if _, err := fmt.Sscan(word[1:], &l.term); err != nil {
					t.Fatal(err)
				}
			}
			views[j].see(l)
		}
	}
	end = " at the end"
	for _, v := range views {
		v.end()
	}
	return got
}

func TestAChangeIsBoundedByTheLookBeforeAndTheLookThatSawIt(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   []string
	}{
		"nothing changes": {`
			A2
			A2
			.
			A2`, nil},
		"no leader, then the new one with its term": {`
			A2
			-2
			-2
			B3
			B3`, []string{"etcd/x: 2 [0 26]", "etcd/x: B3 [50 76]"}},
		"a new leader shows the old term first": {`
			A2
			-2
			B2
			B3`, []string{"etcd/x: 2 [0 26]", "etcd/x: B3 [25 51]"}},
		"the state without a leader was skipped": {`
			A2
			B3`, []string{"etcd/x: 2 [0 26] skipped", "etcd/x: B3 [0 26]"}},
		"it was skipped and the term came later": {`
			A2
			B2
			B3`, []string{"etcd/x: 2 [0 26] skipped", "etcd/x: B3 [0 26]"}},
		"the same leader was elected again between two looks": {`
			A2
			A3`, []string{"etcd/x: 2 [0 26] skipped", "etcd/x: A3 [0 26]"}},
		"silence widens the bounds": {`
			A2
			.
			.
			B3`, []string{"etcd/x: 2 [0 76] skipped", "etcd/x: B3 [0 76]"}},
		"a leader without a term yet is gone before it had one": {`
			A2
			-2
			B2
			-2
			C4`, []string{"etcd/x: 2 [0 26]", "etcd/x: B [25 51]", "etcd/x: 2 [50 76]", "etcd/x: C4 [75 101]"}},
		"what still waits at the end is reported": {`
			A2
			-2
			B2`, []string{"etcd/x: 2 [0 26]", "etcd/x: B [25 51] at the end"}},
		"each member has a view of its own": {`
			A2 A2
			-2 A2
			-2 -2
			B3 B2
			B3 B3`, []string{"etcd/x: 2 [0 26]", "etcd/y: 2 [25 51]", "etcd/x: B3 [50 76]", "etcd/y: B3 [50 76]"}},
		"a member that comes back does not report what all know": {`
			A2 A2
			-2 .
			B3 .
			B3 -1
			B3 -2
			B3 B2
			B3 B3`, []string{"etcd/x: 2 [0 26]", "etcd/x: B3 [25 51]"}},
		"a restarted replica is no news": {`
			A2 A2
			A2 .
			A2 -0
			A2 A1
			A2 A2`, nil},
		"but who comes back first reports what changed meanwhile": {`
			A2
			.
			-2
			B3`, []string{"etcd/x: 2 [0 76] skipped", "etcd/x: B3 [50 76]"}},
	} {
		if diff := cmp.Diff(c.want, looks(t, c.script)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestALeaderWhoseTermNeverComesIsReportedAfterAWhile(t *testing.T) {
	script := "A2\n-2\n" + strings.Repeat("A2\n", 45)
	got := looks(t, script)
	want := []string{"etcd/x: 2 [0 26]", "etcd/x: A2 [25 51]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
