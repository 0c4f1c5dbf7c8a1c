package web

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// patience is for what has no reason to take long, on a machine that is busy.
const patience = time.Minute

// A drilled run is one that this test's own process does.
type drilled struct {
	t    *testing.T
	dir  string
	rec  drills.Record
	lock *journal.Lock
	out  *os.File
	n    int
}

func (st *site) begin(t *testing.T) *drilled {
	t.Helper()
	d := &drilled{t: t}
	d.dir, d.rec = st.keepRun(t, "01a", false)
	var err error
	if d.lock, err = journal.Take(st.home, "orders", "01a"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.lock.Release() })
	if d.out, err = os.Create(filepath.Join(d.dir, "timeline.jsonl")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.out.Close() })
	return d
}

// happens appends an event as a drill does, in two parts if torn.
func (d *drilled) happens(kind timeline.Kind, node, by, value string, torn bool) {
	d.t.Helper()
	d.n++
	at := time.Duration(d.n) * time.Second
	line, err := json.Marshal(timeline.Event{I: d.n, Trial: 1, At: timeline.Interval{Lo: at, Hi: at}, Kind: kind, Node: node, By: by, Value: value})
	if err != nil {
		d.t.Fatal(err)
	}
	line = append(line, '\n')
	parts := [][]byte{line}
	if torn {
		parts = [][]byte{line[:20], line[20:]}
	}
	for _, p := range parts {
		if _, err := d.out.Write(p); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *drilled) ends(v verdict.Verdict) {
	d.t.Helper()
	d.rec.Finished, d.rec.Verdict = time.Now(), v
	if err := drills.WriteRecord(d.dir, d.rec); err != nil {
		d.t.Fatal(err)
	}
	d.dies()
}

func (d *drilled) dies() {
	d.t.Helper()
	if err := d.lock.Release(); err != nil {
		d.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(filepath.Dir(d.dir)), "locks")); err != nil { // as if the pid were gone
		d.t.Fatal(err)
	}
}

// watch reads the stream, and returns what finds the next message that says so.
func (st *site) watch(t *testing.T, path string) (next func(kind, says string) (id string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("%s: %s %s", path, resp.Status, got)
	}
	lines := bufio.NewScanner(resp.Body)
	return func(kind, says string) string {
		t.Helper()
		var is, id, data string
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				is, id, data = value, "", ""
			case "id":
				id = value
			case "data":
				data += value + "\n"
			case "":
				if is == kind && strings.Contains(data, says) {
					return id
				}
				is = ""
			}
		}
		t.Fatalf("no %s said %q: %v", kind, says, lines.Err())
		return ""
	}
}

func TestAViewerSeesADrillAsItIsWritten(t *testing.T) {
	st := open(t, nil)
	d := st.begin(t)
	d.happens(timeline.Phase, "", "engine", "steady", false)
	next := st.watch(t, "/runs/01a/events?after=0")
	next("line", "steady for 1.0 s")
	next("state", `aria-current="step">steady<`)
	d.happens(timeline.Role, "n1", "role/n1", "silent "+evil, true)
	if id := next("line", "&lt;script&gt;"); id != "2" {
		t.Errorf("the second line has the id %q", id)
	}
	again := st.watch(t, "/runs/01a/events?after=1")
	if id := again("line", ""); id != "2" {
		t.Errorf("who has seen one line gets line %s first", id)
	}
	d.ends(verdict.Pass)
	next("end", "PASS")
	again("end", `href="/runs/01a-a-drill"`)
	if _, _, body := st.get(t, "/runs/01a", nil); !strings.Contains(body, `<span class="word">PASS`) {
		t.Errorf("afterwards the page is no report:\n%s", body)
	}
}

func TestAPageThatIsOpenThroughACrashSaysSo(t *testing.T) {
	st := open(t, nil)
	d := st.begin(t)
	d.happens(timeline.Phase, "", "engine", "hold", false)
	_, _, body := st.get(t, "/runs/01a", nil)
	if !strings.Contains(body, "A drill runs") || !strings.Contains(body, "hold for 2.0 s") || !strings.Contains(body, `role="log"`) {
		t.Fatalf("while it runs: %s", body)
	}
	next := st.watch(t, "/runs/01a/events")
	next("state", "hold")
	d.dies()
	next("end", "This drill has died")
	if _, _, body := st.get(t, "/runs/01a", nil); !strings.Contains(body, "This drill has died") || !strings.Contains(body, "hold for 2.0 s") {
		t.Errorf("loaded again: %s", body)
	}
}

// A process that took the number of one that died is not the drill.
func TestAProcessThatHasBegunSinceIsNotTheDrill(t *testing.T) {
	me := journal.Locker{PID: os.Getpid(), Drill: "01a", Since: time.Now()}
	if !lives(me) {
		t.Error("this process took the lock, and is told to be gone")
	}
	me.Since = time.Now().Add(-24 * 365 * time.Hour)
	if lives(me) {
		t.Error("this process began after the lock was taken")
	}
}

func TestOnlyAnOperatorStopsDrillsAndByAFormOfOurs(t *testing.T) {
	st := open(t, nil)
	d := st.begin(t)
	d.happens(timeline.Phase, "", "engine", "hold", false)
	stop := filepath.Join(st.home, "stop")
	is := func(want bool) bool { _, err := os.Stat(stop); return (err == nil) == want }
	viewer, operator := st.in(t, st.token(t, "vera", Viewer)), st.in(t, st.token(t, "oda", Operator))
	_, _, page := st.get(t, "/runs/01a", viewer)
	if strings.Contains(page, "Stop and take") {
		t.Error("a viewer is shown the button")
	}
	for name, try := range map[string]func() int{
		"nobody": func() int { s, _, _ := st.do(t, http.MethodPost, "/stop", url.Values{}, nil); return s },
		"a viewer": func() int {
			s, _, _ := st.do(t, http.MethodPost, "/stop", url.Values{"form": {st.s.sessions.formToken("x")}}, viewer)
			return s
		},
		"an operator by another form": func() int {
			s, _, _ := st.do(t, http.MethodPost, "/stop", url.Values{"form": {strings.Repeat("0", 64)}}, operator)
			return s
		},
		"an operator by another site": func() int {
			_, _, body := st.get(t, "/runs/01a", operator)
			s, _, _ := st.do(t, http.MethodPost, "/stop", url.Values{"form": {formOf(t, body)}}, func(r *http.Request) { operator(r); r.Header.Set("Sec-Fetch-Site", "same-site") })
			return s
		},
		"reading": func() int { s, _, _ := st.get(t, "/stop", operator); return s },
	} {
		if status := try(); status < 400 || !is(false) {
			t.Errorf("%s: %d, and drills are stopped: %v", name, status, !is(false))
		}
	}
	_, _, page = st.get(t, "/runs/01a", operator)
	status, head, _ := st.do(t, http.MethodPost, "/stop", url.Values{"form": {formOf(t, page)}, "run": {"01a-a-drill"}}, operator)
	if status != http.StatusSeeOther || head.Get("Location") != "/runs/01a-a-drill" || !is(true) {
		t.Fatalf("stop: %d to %s", status, head.Get("Location"))
	}
	_, _, page = st.get(t, "/", operator)
	if !strings.Contains(page, "Drills are stopped") || !strings.Contains(page, "stopped on the page by oda") {
		t.Errorf("the first page: %s", page)
	}
	if status, _, _ := st.do(t, http.MethodPost, "/lift", url.Values{"form": {formOf(t, page)}}, operator); status != http.StatusSeeOther || !is(false) {
		t.Errorf("lift: %d", status)
	}
	_, _, page = st.get(t, "/audit", operator)
	for _, want := range []string{"every drill of this home", "oda", "forbidden", "lift"} {
		if !strings.Contains(page, want) {
			t.Errorf("the audit log lacks %q", want)
		}
	}
}

func TestAViewerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	st := open(t, nil)
	d := st.begin(t)
	f, err := st.s.feed("01a-a-drill")
	if err != nil {
		t.Fatal(err)
	}
	slow, leave := f.watch(0)
	defer leave()
	for n := range 2 * feedBuffer {
		d.happens(timeline.Note, "", "engine", strconv.Itoa(n), false)
	}
	next := st.watch(t, "/runs/01a/events")
	next("line", strconv.Itoa(2*feedBuffer-1))
	for range slow { // it was left: its channel is closed
	}
}

func TestStreamsAreBounded(t *testing.T) {
	st := open(t, nil)
	st.begin(t)
	st.s.limits.streams = maxStreams
	if status, head, _ := st.get(t, "/runs/01a/events", nil); status != http.StatusServiceUnavailable || head.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d", status)
	}
}
