package web

import (
	"bytes"
	"context"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/trend"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// evil is a name that no page may take for its own.
const evil = `"><script>alert(1)</script>`

// asked answers like a home with the runs that it is given.
type asked struct{ runs []history.Run }

func (a asked) Runs(context.Context) ([]history.Run, []history.Broken, []string, error) {
	return a.runs, nil, []string{"the database is " + evil}, nil
}

func (a asked) Trends(context.Context, history.Query, string) (trend.Trends, error) {
	return trend.Make(a.runs, nil, ""), nil
}

func (a asked) Checklist(_ context.Context, quarter string) (*checklist.Checklist, error) {
	q, err := checklist.ParseQuarter(quarter)
	c := checklist.Make(checklist.Input{Quarter: q, Now: time.Now(), Runs: a.runs, By: evil})
	return &c, err
}

func (a asked) Schedules(context.Context) ([]Planned, []string, error) {
	e, err := schedule.NewEntry("nightly.yaml", &scenarios.Schedule{Name: "nightly " + evil, Owner: evil, Scenario: evil, On: "orders.yaml", Cron: "30 2 * * *", TimeZone: "UTC",
		Holidays: []scenarios.Dates{{From: "2020-01-01", To: "2099-12-31"}}})
	if err != nil {
		return nil, nil, err
	}
	system := &scenarios.System{Name: "orders", Guardrails: scenarios.Guardrails{Freeze: []scenarios.Dates{{From: "2020-01-01", To: "2099-12-31"}, {From: "2019-01-01", To: "2019-12-31"}}}}
	last := []schedule.Decided{{Schedule: e.Name, Local: "2026-11-25T02:30", State: schedule.Refused, Why: evil, Run: "01a"}}
	return []Planned{{Entry: e, System: system, Last: last}}, []string{evil}, nil
}

// A site is a server of a home of its own, with what it said.
type site struct {
	*httptest.Server
	home string
	log  *bytes.Buffer
	s    *Server
}

// open serves a new home, changed by change.
func open(t *testing.T, change func(c *Config)) *site {
	t.Helper()
	home := t.TempDir()
	st := &site{home: home, log: &bytes.Buffer{}}
	c := Config{Home: home, Version: "test", Open: true, Tokens: TokenFile(home), Log: st.log, Source: asked{},
		Stop: func(why string) error { return os.WriteFile(filepath.Join(home, "stop"), []byte(why+"\n"), 0o600) }, Clear: func() error { return os.Remove(filepath.Join(home, "stop")) }}
	if change != nil {
		change(&c)
	}
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	st.s, st.Server = s, httptest.NewServer(s.Handler())
	t.Cleanup(func() { s.close(); st.Server.Close() })
	return st
}

// get asks for a path, without following where it leads.
func (st *site) get(t *testing.T, path string, change func(r *http.Request)) (status int, head http.Header, body string) {
	t.Helper()
	return st.do(t, http.MethodGet, path, nil, change)
}

func (st *site) do(t *testing.T, method, path string, form url.Values, change func(r *http.Request)) (status int, head http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, st.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// token makes a token, and a request's change that signs in with it.
func (st *site) token(t *testing.T, name string, role Role) (secret string) {
	t.Helper()
	secret, err := AddToken(TokenFile(st.home), name, role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// in signs in, and returns what brings the session back.
func (st *site) in(t *testing.T, secret string) func(r *http.Request) {
	t.Helper()
	status, head, body := st.do(t, http.MethodPost, "/signin", url.Values{"token": {secret}, "to": {"/audit"}}, nil)
	if status != http.StatusSeeOther || head.Get("Location") != "/audit" {
		t.Fatalf("signing in: %d to %q: %s", status, head.Get("Location"), body)
	}
	cookie := (&http.Response{Header: head}).Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
		t.Errorf("the cookie is %v", cookie)
	}
	return func(r *http.Request) { r.AddCookie(cookie) }
}

// keepRun writes the record of a run into the home.
func (st *site) keepRun(t *testing.T, id string, ended bool) (dir string, rec drills.Record) {
	t.Helper()
	dir = filepath.Join(st.home, "runs", id+"-a-drill")
	rec = drills.Record{Schema: drills.Schema, Run: id, Drill: drills.DrillInfo{Name: "a drill " + evil}, System: drills.SystemInfo{Name: "orders", Kind: "http",
		Nodes: []drills.NodeInfo{{Name: "n1", Role: "primary"}, {Name: "n2", Role: "replica"}}}, Verdict: verdict.Invalid, Started: time.Now(), Trials: []verdict.Trial{},
		Scenario: drills.Facts{Steps: []drills.StepFacts{{Inject: "kill", On: []string{"primary"}, ForMS: 2000}}, SteadyMS: 1000, SettleMS: 3000}}
	if ended {
		rec.Finished, rec.Verdict = rec.Started.Add(time.Minute), verdict.Pass
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := drills.WriteRecord(dir, rec); err != nil {
		t.Fatal(err)
	}
	return dir, rec
}

// paths are those of all pages.
func (st *site) paths() []string {
	return []string{"/", "/board", "/history", "/history?system=a&verdict=pass&page=7", "/trends", "/checklist", "/audit", "/signin", "/runs/01a", "/no/such/page"}
}

func TestEveryPageIsWholeAndLetsNothingForeignIn(t *testing.T) {
	st := open(t, func(c *Config) {
		c.Source = asked{[]history.Run{{Run: evil, System: evil, Scenario: evil, Operator: evil, Verdict: verdict.Fail, Started: time.Now(), Finished: time.Now().Add(time.Second)}}}
	})
	st.keepRun(t, "01a", true)
	for _, path := range st.paths() {
		_, head, body := st.get(t, path, nil)
		if strings.Contains(body, "<script>") {
			t.Errorf("%s: a name became a script", path)
		}
		for _, inline := range []string{"<style", " style=", " onclick=", "javascript:"} {
			if strings.Contains(body, inline) {
				t.Errorf("%s: the policy keeps %q from working", path, inline)
			}
		}
		for _, want := range []string{"</html>", `<main id="main"`, "<h1>", `href="#main"`, `lang="en"`, "<title>", "<nav aria-label="} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s:\n%s", path, want, body)
			}
		}
		if n := strings.Count(body, "<table"); n != strings.Count(body, "<caption") {
			t.Errorf("%s: %d tables, %d captions", path, n, strings.Count(body, "<caption"))
		}
		for name, want := range map[string]string{"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin"} {
			if !strings.HasPrefix(head.Get(name), want) {
				t.Errorf("%s: %s is %q, want %q", path, name, head.Get(name), want)
			}
		}
		if policy := head.Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
	}
}

func TestWhatPagesNameIsThere(t *testing.T) {
	st := open(t, nil)
	st.keepRun(t, "01a", true)
	_, _, body := st.get(t, "/runs/01a", nil)
	n := 0
	for _, found := range regexp.MustCompile(`(?:href|src|action)="(/[^"]*)"`).FindAllStringSubmatch(body, -1) {
		part := found[1]
		n++
		if status, _, _ := st.get(t, part, nil); status != http.StatusOK {
			t.Errorf("%s: %d", part, status)
		}
	}
	if n < 6 {
		t.Errorf("only %d addresses were found:\n%s", n, body)
	}
}

func TestARunIsNeverLeft(t *testing.T) {
	st := open(t, nil)
	dir, _ := st.keepRun(t, "01a", true)
	secret := filepath.Join(st.home, "secret")
	for path, text := range map[string]string{secret: "the secret", filepath.Join(dir, "system.yaml"): "the secret"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{filepath.Join(dir, "report.md"): secret, filepath.Join(st.home, "runs", "01b"): st.home} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/runs/..%2fsecret", "/runs/%2e%2e/secret", "/runs/01a/..%2f..%2fsecret", "/runs/01a/%2e%2e%2f%2e%2e%2fsecret", "/runs/01a/report.md",
		"/runs/01a/system.yaml", "/runs/01b/secret", "/runs/01b", "/runs/." + "/secret", "/runs/.tmp-1", `/runs/01a/..%5csecret`, "/runs/01a/%00", "/runs//etc/passwd", "/assets/../secret"} {
		status, _, body := st.get(t, path, nil)
		if strings.Contains(body, "the secret") || status == http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	status, head, body := st.get(t, "/runs/01a/record.json", nil)
	if status != http.StatusOK || !strings.Contains(body, drills.Schema) || !strings.HasPrefix(head.Get("Content-Disposition"), "attachment") {
		t.Errorf("the record: %d %v", status, head)
	}
}

func TestNobodySeesTheFaultOfATrainingBeforeItIsOver(t *testing.T) {
	st := open(t, nil)
	dir, rec := st.keepRun(t, "01t", false)
	named := func(body string) bool {
		return strings.Contains(body, rec.Drill.Name) || strings.Contains(body, template.HTMLEscapeString(rec.Drill.Name))
	}
	access := filepath.Join(dir, training.AccessFile)
	if err := os.WriteFile(access, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/runs/01t", "/runs/01t/events", "/runs/01t/timeline.jsonl", "/runs/01t/record.json"} {
		status, _, body := st.get(t, path, nil)
		if status == http.StatusOK || named(body) {
			t.Errorf("%s is answered during a training: %d", path, status)
		}
	}
	if _, _, body := st.get(t, "/", nil); named(body) {
		t.Error("the first page names the drill of a training")
	}
	if err := os.Remove(access); err != nil {
		t.Fatal(err)
	}
	if status, _, body := st.get(t, "/runs/01t", nil); status != http.StatusOK || !named(body) {
		t.Errorf("the run is not shown after its training: %d", status)
	}
}

func TestADrillThatHasDiedIsToldInClearWords(t *testing.T) {
	st := open(t, nil)
	st.keepRun(t, "01a", false)
	for path, says := range map[string]string{"/": "A drill has died", "/runs/01a": "This drill has died"} {
		status, _, body := st.get(t, path, nil)
		if status != http.StatusOK || !strings.Contains(body, says) || !strings.Contains(body, "The journal lists no fault that is left") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestTheBoardSaysWhatComesWhatCameAndWhatHoldsItOff(t *testing.T) {
	st := open(t, nil)
	if err := os.WriteFile(filepath.Join(st.home, "stop"), []byte("an incident\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, body := st.get(t, "/board", nil)
	for _, want := range []string{"02:30", "held</span> a holiday", "refused", `href="/runs/01a"`, "Frozen now, 2020-01-01..2099-12-31", "an incident", "No scheduler of this home runs"} {
		if !strings.Contains(body, want) {
			t.Errorf("the board lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "2019-12-31") {
		t.Error("the board shows a freeze that is over")
	}
	lock, err := journal.TakeScheduler(st.home)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release() //nolint:errcheck // the test is over
	if _, _, body := st.get(t, "/board", nil); !strings.Contains(body, "The scheduler runs, as process") {
		t.Error("a scheduler that runs is not told")
	}
}
