package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./reports/live -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-approved +now:\n%s", diff)
	}
}

func facts() Facts {
	return Facts{Scenario: "patroni primary kill", System: "orders-db", Kind: "patroni", Trials: 2,
		Nodes:  []Node{{"pg1", "primary"}, {"pg2", "replica"}, {"pg3", "replica"}},
		Phases: []Planned{{"steady", 15 * time.Second, false}, {"hold", 60 * time.Second, false}, {"settle", 120 * time.Second, true}}}
}

// story is a trial as its events come.
func story(trial int) []timeline.Event {
	var out []timeline.Event
	add := func(lo, hi float64, e timeline.Event) {
		e.I, e.Trial = len(out), trial
		e.At = timeline.Interval{Lo: timeline.FromMS(lo), Hi: timeline.FromMS(hi)}
		out = append(out, e)
	}
	phase := func(at float64, name string) {
		add(at, at, timeline.Event{Kind: timeline.Phase, By: "engine", Value: name})
	}
	role := func(at float64, node, value string) {
		add(at, at+2, timeline.Event{Kind: timeline.Role, By: "role/" + node, Node: node, Value: value})
	}
	write := func(at float64, by, value, why string) {
		add(at, at+2, timeline.Event{Kind: timeline.Write, By: by, Value: value, Evidence: why})
	}
	data := json.RawMessage(`{"fault":"kill/pg1"}`)
	bucket := func(at float64, acked, failed int64) {
		c, _ := json.Marshal(timeline.Counts{Acked: acked, Failed: failed})
		add(at, at+500, timeline.Event{Kind: timeline.Bucket, By: "clients", Data: c})
	}
	phase(0, "observe")
	role(3, "pg1", "primary")
	role(3, "pg2", "replica")
	role(3, "pg3", "replica")
	add(0, 5, timeline.Event{Kind: timeline.Leader, By: "patroni/etcd", Node: "pg1", Epoch: "1"})
	for _, by := range []string{"app/0", "app/1", "fresh"} {
		write(20, by, "acked", "INSERT 0 1")
	}
	write(20, "direct/pg2", "failed", "25006")
	phase(400, "steady")
	for at := 500.0; at < 12000; at += 500 {
		bucket(at, 125, 0)
	}
	// What only waited for its own session says nothing of the system: no line.
	write(8000, "app/1", "failed", probes.ReplyNotSent+probes.ReplyBusy)
	write(8300, "app/1", "acked", "")
	phase(12300, "aim")
	phase(12390, "inject")
	add(12395, 12395, timeline.Event{Kind: timeline.FaultPlanned, By: "kill", Node: "pg1", Value: "SIGKILL to pid 4711 (patroni), the whole container", Data: data})
	add(12400, 12400.1, timeline.Event{Kind: timeline.FaultInjected, By: "kill", Node: "pg1", Data: data})
	add(12400.3, 12400.6, timeline.Event{Kind: timeline.FaultEffect, By: "kill", Node: "pg1", Evidence: "pid 4711 is gone (pidfd)", Data: data})
	phase(12401, "hold")
	write(12405, "app/1", "unknown", "EOF after send")
	write(12410, "fresh", "failed", "dial tcp: connection refused")
	write(12420, "app/0", "failed", "dial tcp: connection refused")
	write(12430, "app/1", "failed", "dial tcp: connection refused")
	role(12450, "pg1", "unreachable")
	for at := 12500.0; at < 34000; at += 500 {
		bucket(at, 0, 125)
	}
	add(32600, 32650, timeline.Event{Kind: timeline.Leader, By: "patroni/etcd", Node: ""})
	add(33000, 33010, timeline.Event{Kind: timeline.Leader, By: "patroni/etcd", Node: "pg2", Epoch: "2"})
	role(33900, "pg2", "primary")
	write(33950, "direct/pg2", "acked", "INSERT 0 1")
	write(34100, "fresh", "acked", "INSERT 0 1")
	write(34200, "app/0", "acked", "INSERT 0 1")
	write(34900, "app/1", "acked", "INSERT 0 1")
	bucket(34500, 125, 0)
	return out
}

// ending is the rest of it.
func ending(trial int) []timeline.Event {
	var out []timeline.Event
	add := func(at float64, e timeline.Event) {
		e.I, e.Trial, e.At = 1000+len(out), trial, timeline.Interval{Lo: timeline.FromMS(at), Hi: timeline.FromMS(at + 20)}
		out = append(out, e)
	}
	data := json.RawMessage(`{"fault":"kill/pg1"}`)
	add(72400, timeline.Event{Kind: timeline.Phase, By: "engine", Value: "revert"})
	add(72500, timeline.Event{Kind: timeline.Restarted, By: "kill", Node: "pg1", Value: "dapple"})
	add(72900, timeline.Event{Kind: timeline.FaultReverted, By: "kill", Node: "pg1", Evidence: "pid 5120 (patroni) runs", Data: data})
	add(73000, timeline.Event{Kind: timeline.Phase, By: "engine", Value: "settle"})
	add(73100, timeline.Event{Kind: timeline.Role, By: "role/pg1", Node: "pg1", Value: "none"})
	add(74000, timeline.Event{Kind: timeline.Member, By: "member/pg1", Node: "pg1", Value: "lagging"})
	add(79000, timeline.Event{Kind: timeline.Member, By: "member/pg1", Node: "pg1", Value: "following"})
	add(79000, timeline.Event{Kind: timeline.Role, By: "role/pg1", Node: "pg1", Value: "replica"})
	add(80000, timeline.Event{Kind: timeline.Stall, By: "engine", N: int64(340 * time.Millisecond)})
	add(110000, timeline.Event{Kind: timeline.Phase, By: "engine", Value: "audit"})
	add(111000, timeline.Event{Kind: timeline.Audit, By: "engine", Value: "A1"})
	add(12000, timeline.Event{Kind: timeline.Lost, By: "app/0", Value: "0/991", Evidence: "A1: absent"})
	add(12001, timeline.Event{Kind: timeline.Lost, By: "app/0", Value: "0/992", Evidence: "A1: absent"})
	add(112000, timeline.Event{Kind: timeline.Leftover, By: "engine", Node: "pg1", Value: "nft table dapple_7qk2", Evidence: "nft delete table inet dapple_7qk2"})
	add(113000, timeline.Event{Kind: timeline.Phase, By: "engine", Value: "end"})
	return out
}

func TestLinesTellADrillInWordsThatAPersonFollows(t *testing.T) {
	var b bytes.Buffer
	l := NewLines(&b, facts())
	for _, e := range append(append(story(1), ending(1)...), story(2)[:30]...) {
		l.Event(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "lines.txt", b.String())
}

func TestLinesTellOfWhatWentWrong(t *testing.T) {
	var b bytes.Buffer
	l := NewLines(&b, Facts{Trials: 1})
	for i, e := range []timeline.Event{
		{Kind: timeline.Unsteady, Value: "pg3 is lagging by 12 MiB"},
		{Kind: timeline.FaultPlanned, By: "partition", Node: "pg1", Value: "drop all to pg2"},
		{Kind: timeline.FaultNoEffect, By: "partition", Node: "pg1", Evidence: "its counters stayed at 0"},
		{Kind: timeline.FaultHole, By: "kill", Node: "pg1", Evidence: "restarted by the engine"},
		{Kind: timeline.Detected, By: "sentinel", Value: "+odown"},
		{Kind: timeline.Promoted, By: "postgres log", Node: "pg2"},
		{Kind: timeline.Forked, By: "postgres", Node: "pg1", Value: "timeline 1 is no ancestor of 2"},
		{Kind: timeline.Aborted, Value: "an outage of more than 90 s"},
		{Kind: timeline.Note, Value: "evil\x1b[2J\u202etext"},
		{Kind: timeline.Bucket}, {Kind: timeline.Health, Value: "red"}, {Kind: "of a newer dapple"},
	} {
		e.Trial, e.At = 1, timeline.Interval{Lo: time.Duration(i) * time.Second, Hi: time.Duration(i) * time.Second}
		l.Event(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "wrong.txt", b.String())
}

type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

func TestAPausedTerminalNeverHoldsUpTheRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stuck{make(chan struct{})}
		l := NewLines(s, Facts{})
		for range handOver + 50 {
			l.Event(timeline.Event{Kind: timeline.Note, Value: "x"}) // a wait here would deadlock the bubble
		}
		close(s.release)
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "came faster") {
			t.Errorf("dropped events are not told: %v", err)
		}
		l.Event(timeline.Event{Kind: timeline.Note})
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAnErrorOfWritingIsReturnedOnce(t *testing.T) {
	l := NewLines(broken{}, Facts{})
	l.Event(timeline.Event{Kind: timeline.Note, Value: "x"})
	l.Event(timeline.Event{Kind: timeline.Note, Value: "y"})
	if err := l.Close(); err == nil || strings.Count(err.Error(), "broken pipe") != 1 {
		t.Error(err)
	}
}

func screenAt(width, height int, events []timeline.Event, after time.Duration) (*model, string) {
	m := newModel(facts(), nil)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	m.Update(batch{events, begin})
	m.Update(tick(begin.Add(after)))
	return m, ansi.Strip(m.View().Content)
}

func TestTheScreenShowsWhatIsAndWhatComesNext(t *testing.T) {
	_, got := screenAt(100, 30, story(1), 1500*time.Millisecond)
	golden(t, "screen.txt", got+"\n")
	for _, want := range []string{"trial 1 of 2", "next: revert in 35.9 s", "unreachable", "primary", "killed pg1", "pg2 leads", "succeeding"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen does not show %q", want)
		}
	}
}

func TestTheScreenSaysThatClientsFailAndForHowLong(t *testing.T) {
	all := story(1)
	n := 0
	for i, e := range all {
		if e.Kind == timeline.Leader && e.Node == "" {
			n = i + 1
		}
	}
	_, got := screenAt(100, 30, all[:n], 0)
	for _, want := range []string{"failing for 2", "no leader", "×××"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen does not show %q:\n%s", want, got)
		}
	}
}

func TestTheScreenNeverExceedsTheTerminal(t *testing.T) {
	for _, size := range [][2]int{{200, 60}, {100, 30}, {80, 24}, {40, 12}, {20, 4}, {1, 1}} {
		m, got := screenAt(size[0], size[1], append(story(1), ending(1)...), 0)
		lines := strings.Split(got, "\n")
		if len(lines) > m.height {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, l := range lines {
			if w := lipgloss.Width(l); w > m.width {
				t.Errorf("%v: a line of %d columns: %q", size, w, l)
			}
		}
		if size[1] >= 4 && !strings.Contains(lines[0], "patroni primary"[:min(15, m.width)]) {
			t.Errorf("%v: the first line is %q", size, lines[0])
		}
	}
}

func TestANewTrialBeginsWithEmptyLanes(t *testing.T) {
	m, _ := screenAt(100, 30, append(story(1), ending(1)...), 0)
	m.Update(batch{story(2)[:3], time.Time{}})
	if m.now > time.Second || len(m.lanes["fault"]) > 0 || len(m.rates) > 0 {
		t.Errorf("the second trial begins at %v with %d fault changes and %d rates", m.now, len(m.lanes["fault"]), len(m.rates))
	}
	if got := ansi.Strip(m.View().Content); !strings.Contains(got, "trial 2 of 2") {
		t.Error(got)
	}
}

func TestACtrlCThatArrivesAsAKeyReachesTheCaller(t *testing.T) {
	called := 0
	m := newModel(facts(), func() { called++ })
	for range 2 {
		_, cmd := m.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl})
		if cmd == nil {
			t.Fatal("Ctrl-C does nothing")
		}
		if msg := cmd(); msg != nil {
			t.Errorf("Ctrl-C also makes %T: only the caller decides when the view ends", msg)
		}
	}
	if called != 2 {
		t.Errorf("the caller was told %d times of 2", called)
	}
	if _, cmd := m.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd != nil {
		t.Error("q does something")
	}
}

func TestTheClockMovesOnBetweenEvents(t *testing.T) {
	m, _ := screenAt(80, 24, story(1), 0)
	before := m.now
	seen := m.seen
	m.Update(tick(seen.Add(700 * time.Millisecond)))
	m.Update(tick(seen.Add(1500 * time.Millisecond)))
	if got := m.now - before; got != 1500*time.Millisecond {
		t.Errorf("1.5 s later the clock shows %v more", got)
	}
}

func ExampleLines() {
	var b bytes.Buffer
	l := NewLines(&b, Facts{Scenario: "demo", Trials: 1})
	at := timeline.Interval{Lo: 12_400 * time.Millisecond, Hi: 12_400*time.Millisecond + 600*time.Microsecond}
	l.Event(timeline.Event{At: at, Kind: timeline.FaultPlanned, By: "kill", Node: "pg1", Value: "SIGKILL to pid 4711"})
	l.Event(timeline.Event{At: at, Kind: timeline.FaultInjected, By: "kill", Node: "pg1"})
	l.Event(timeline.Event{At: at, Kind: timeline.FaultEffect, By: "kill", Node: "pg1"})
	if err := l.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Print(b.String())
	// Output:
	//    12.4 s  pg1 killed (SIGKILL to pid 4711); in effect within 0.6 ms
}
