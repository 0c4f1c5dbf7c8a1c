package guardrails

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

var now = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

func aCase(t *testing.T) Case {
	return Case{
		Scenario: &scenarios.Scenario{Name: "leader kill"},
		System:   &scenarios.System{Name: "orders-db", Kind: "etcd", Environment: scenarios.Staging},
		Home:     t.TempDir(), Now: func() time.Time { return now },
		Past: func(context.Context, history.Query) ([]history.Run, error) { return nil, nil },
	}
}

// refusals asks all guards.
func refusals(t *testing.T, c Case) map[string]error {
	t.Helper()
	found := map[string]error{}
	for _, g := range Of(c) {
		if err := g.Check(t.Context()); err != nil {
			found[g.Name] = err
		}
	}
	return found
}

// want is that exactly one guard refuses, by that name and in those words.
func want(t *testing.T, c Case, name, words string) {
	t.Helper()
	got := refusals(t, c)
	var tripped *drills.Tripped
	if len(got) != 1 || got[name] == nil || !strings.Contains(got[name].Error(), words) || !errors.As(got[name], &tripped) {
		t.Errorf("refusals %v, want %s: …%s…", got, name, words)
	}
}

func TestNothingDeclaredRefusesNothing(t *testing.T) {
	if got := refusals(t, aCase(t)); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestTheEnvironmentIsPinned(t *testing.T) {
	c := aCase(t)
	c.Pinned = scenarios.CI
	want(t, c, "environment", `ci is pinned, and orders-db says "staging"`)
	c.Pinned = scenarios.Staging
	if got := refusals(t, c); len(got) != 0 {
		t.Errorf("%v", got)
	}
	c.Pinned, c.System.Environment = "", scenarios.Production
	if got := refusals(t, c)["environment"]; got == nil || !strings.Contains(got.Error(), "--environment production") {
		t.Errorf("%v", got)
	}
}

func TestAFreezeIsDaysOrAFile(t *testing.T) {
	c := aCase(t)
	c.System.Guardrails.Freeze = []scenarios.Dates{{From: "2026-11-27", To: "2026-12-01"}}
	if got := refusals(t, c); len(got) != 0 {
		t.Errorf("the day before: %v", got)
	}
	c.System.Guardrails.Freeze[0].From = "2026-11-26"
	want(t, c, "freeze", "2026-11-26 is in the freeze")

	c.System.Guardrails.Freeze = nil
	c.System.Guardrails.FreezeFile = filepath.Join(c.Home, "freeze")
	if got := refusals(t, c); len(got) != 0 {
		t.Errorf("without the file: %v", got)
	}
	write(t, c.System.Guardrails.FreezeFile, "release of the year\nmore")
	want(t, c, "freeze", "release of the year")
}

func TestTheLastBackupMayNotBeTooOld(t *testing.T) {
	c := aCase(t)
	file := filepath.Join(c.Home, "last")
	c.System.Guardrails.Backup = &scenarios.Backup{File: file, MaxAge: scenarios.Duration(26 * time.Hour)}
	if got := refusals(t, c)["backup"]; got == nil || !errors.Is(got, os.ErrNotExist) {
		t.Errorf("without a backup: %v", got)
	}
	write(t, file, "")
	for age, refused := range map[time.Duration]bool{time.Hour: false, 27 * time.Hour: true} {
		if err := os.Chtimes(file, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		if got := refusals(t, c); (got["backup"] != nil) != refused {
			t.Errorf("%v old: %v", age, got)
		}
	}
}

func TestAStopFileRefusesAndSaysWhoSaidSo(t *testing.T) {
	c := aCase(t)
	write(t, StopFile(c.Home), "pager storm, by anna\n")
	want(t, c, "stop", "pager storm, by anna")
}

func TestInProductionSomebodyOnCallMustHaveAcknowledgedNotLongAgo(t *testing.T) {
	c := aCase(t)
	c.System.Environment, c.Pinned = scenarios.Production, scenarios.Production
	c.Past = func(context.Context, history.Query) ([]history.Run, error) {
		return []history.Run{passed(scenarios.Staging, "staging-db", 1, false)}, nil
	}
	want(t, c, "on call", "nobody has acknowledged")
	for ago, words := range map[time.Duration]string{time.Minute: "", 29 * time.Minute: "", 31 * time.Minute: "anna acknowledged 31m0s ago", -time.Hour: "anna acknowledged"} {
		if err := Acknowledge(c.Home, Ack{System: c.System.Name, By: "anna", At: now.Add(-ago)}); err != nil {
			t.Fatal(err)
		}
		got := refusals(t, c)["on call"]
		if (got == nil) != (words == "") || got != nil && !strings.Contains(got.Error(), words) {
			t.Errorf("%v ago: %v", ago, got)
		}
	}
	// Another system whose file has the same name.
	if err := Acknowledge(c.Home, Ack{System: "orders_db", By: "anna", At: now}); err != nil {
		t.Fatal(err)
	}
	c.System.Name = "orders/db"
	if got := refusals(t, c)["on call"]; got == nil {
		t.Error("an acknowledgement for another system counts")
	}
}

func passed(env scenarios.Environment, system string, nodes int, critical bool) history.Run {
	return history.Run{
		Verdict: verdict.Pass, Finished: now.Add(-24 * time.Hour), Scenario: "leader kill", Kind: "etcd", System: system, Environment: string(env),
		Digest: history.Digest{Critical: critical, Touched: nodes},
	}
}

func TestTheLadderNamesTheRungsThatAreMissing(t *testing.T) {
	c := aCase(t)
	c.System.Environment, c.System.Guardrails.Critical = scenarios.Production, true
	c.Scenario.BlastRadius.Nodes = 2
	staging := passed(scenarios.Staging, "staging-db", 2, false)
	single := passed(scenarios.Production, "orders-db", 1, true)
	lesser := passed(scenarios.Production, "carts-db", 2, false)
	old, failed, other := staging, staging, staging
	old.Finished = now.Add(-31 * 24 * time.Hour)
	failed.Verdict = verdict.Inconclusive
	other.Scenario = "another"
	for name, p := range map[string]struct {
		past    []history.Run
		missing string
	}{
		"all":          {[]history.Run{staging, single, lesser}, ""},
		"no staging":   {[]history.Run{old, failed, other, single, lesser}, "has not passed in staging within 30d"},
		"not one node": {[]history.Run{staging, lesser}, "no drill of one node has passed on orders-db"},
		"not lesser":   {[]history.Run{staging, single}, "orders-db is critical"},
	} {
		got := strings.Join(c.missing(p.past), "; ")
		if got != p.missing && (p.missing == "" || !strings.Contains(got, p.missing) || strings.Contains(got, ";")) {
			t.Errorf("%s: %q, want %q", name, got, p.missing)
		}
	}
	if got := c.missing(nil); len(got) != 3 {
		t.Errorf("without any record: %v", got)
	}
}

// monitoring answers as Prometheus and Alertmanager do.
func monitoring(t *testing.T, answers map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Query().Get("query") + r.URL.Query().Get("filter")
		text, ok := answers[key]
		if !ok || r.URL.Path != "/api/v1/query" && r.URL.Path != "/api/v2/alerts" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestQueriesMustBeAnsweredWithinTheirBounds(t *testing.T) {
	vector := func(values ...string) string {
		var series []string
		for _, v := range values {
			series = append(series, fmt.Sprintf(`{"metric":{},"value":[1435781451.781,%q]}`, v))
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
	}
	address := monitoring(t, map[string]string{
		"good": vector("0.9"), "both": vector("0.9", "0.1"), "none": vector(), "nan": vector("NaN"),
		"scalar": `{"status":"success","data":{"resultType":"scalar","result":[1,"0.7"]}}`,
		"matrix": `{"status":"success","data":{"resultType":"matrix","result":[]}}`, "junk": "<html>",
	})
	half, one := 0.5, 1.0
	for query, words := range map[string]string{
		"good": "", "scalar": "", "both": "both is 0.1, and must be at least 0.5", "none": "has no answer", "nan": "is NaN",
		"matrix": "not one value for each series", "junk": "read the answer", "unknown": "400 Bad Request",
	} {
		err := within(t.Context(), address+"/", scenarios.Query{Name: "budget", Query: query, Min: &half, Max: &one})
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", query, err, words)
		}
	}
	if err := within(t.Context(), "http://127.0.0.1:1", scenarios.Query{Query: "good", Min: &half}); err == nil {
		t.Error("nobody answers, and that is no refusal")
	}
}

func TestAnAlertThatFiresRefuses(t *testing.T) {
	address := monitoring(t, map[string]string{
		`service="orders"`: `[{"labels":{"alertname":"OrdersDown","service":"orders"}}]`, `service="carts"`: `[]`,
	})
	c := aCase(t)
	c.System.Guardrails.Alertmanager, c.System.Guardrails.Alerts = address, []string{`service="carts"`}
	if got := refusals(t, c); len(got) != 0 {
		t.Errorf("%v", got)
	}
	c.System.Guardrails.Alerts = append(c.System.Guardrails.Alerts, `service="orders"`)
	want(t, c, "alerts", "OrdersDown")
}

func TestAMonitoringThatHangsIsLeftWhenTheTimeIsOver(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := firing(ctx, s.URL, []string{"a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
