package notices

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var notice = Notice{
	ID: "weekly/2026-11-26T02:30/done", Time: time.Date(2026, 11, 26, 1, 31, 0, 0, time.UTC), State: "done", Schedule: "weekly", Owner: "dba@example.org",
	System: "orders-db.yaml", Local: "2026-11-26T02:30", Why: "fail: rto <met>", Run: "01abc",
}

// A desk takes requests and answers with codes, one after the other; then 200.
type desk struct {
	*httptest.Server
	mu    sync.Mutex
	codes []int
	got   []*http.Request
	body  []string
}

func newDesk(t *testing.T, codes ...int) *desk {
	d := &desk{codes: codes}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got, d.body = append(d.got, r), append(d.body, string(data))
		if len(d.codes) > 0 {
			w.WriteHeader(d.codes[0])
			d.codes = d.codes[1:]
		}
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *desk) requests() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.got)
}

// failures gathers what could not be brought.
type failures struct {
	mu   sync.Mutex
	errs []string
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err.Error())
}

func send(t *testing.T, r Receiver, notices ...Notice) *failures {
	t.Helper()
	f := &failures{}
	p := NewPost(t.Context(), []Receiver{r}, f.add)
	for _, n := range notices {
		p.Send(n)
	}
	p.Close(time.Minute)
	return f
}

func TestSlackGetsOneLineInWhichNothingIsMarkup(t *testing.T) {
	d := newDesk(t)
	if f := send(t, Slack(d.URL), notice); len(f.errs) > 0 {
		t.Fatal(f.errs)
	}
	want := `{"text":"dapple: weekly on orders-db.yaml, due 2026-11-26T02:30: done: fail: rto \u0026lt;met\u0026gt; (run 01abc) — dba@example.org"}`
	if d.body[0] != want {
		t.Errorf("%s\nwant\n%s", d.body[0], want)
	}
}

func TestAWebhookGetsASignedCloudEvent(t *testing.T) {
	d := newDesk(t)
	if f := send(t, Webhook(d.URL, "hunter2", "vm:/var/lib/dapple"), notice); len(f.errs) > 0 {
		t.Fatal(f.errs)
	}
	var event map[string]any
	if err := json.Unmarshal([]byte(d.body[0]), &event); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"specversion": "1.0", "type": "dapple.drill.done", "source": "vm:/var/lib/dapple", "id": notice.ID, "time": "2026-11-26T01:31:00Z"} {
		if event[key] != want {
			t.Errorf("%s is %v, want %s", key, event[key], want)
		}
	}
	mac := hmac.New(sha256.New, []byte("hunter2"))
	mac.Write([]byte(d.body[0]))
	if got, want := d.got[0].Header.Get("X-Dapple-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if got := d.got[0].Header.Get("Content-Type"); got != "application/cloudevents+json" {
		t.Error(got)
	}
}

func TestGrafanaGetsWhatIsOfATimeAndItsToken(t *testing.T) {
	d := newDesk(t)
	held := notice
	held.State, held.Run = "held", ""
	if f := send(t, Grafana(d.URL+"/", "token"), notice, held); len(f.errs) > 0 {
		t.Fatal(f.errs)
	}
	if len(d.got) != 1 || d.got[0].URL.Path != "/api/annotations" || d.got[0].Header.Get("Authorization") != "Bearer token" ||
		!strings.Contains(d.body[0], `"time":1795656660000`) {
		t.Errorf("%d requests, %v", len(d.got), d.body)
	}
}

func TestWhoIsBusyIsAskedAgainAndWhoRefusesIsNot(t *testing.T) {
	busy := newDesk(t, 503)
	if f := send(t, Slack(busy.URL), notice); len(f.errs) > 0 || len(busy.got) != 2 {
		t.Errorf("%v, %d requests", f.errs, len(busy.got))
	}
	refuses := newDesk(t, 404)
	if f := send(t, Slack(refuses.URL), notice); len(f.errs) != 1 || len(refuses.got) != 1 || !strings.Contains(f.errs[0], "tell slack that weekly is done: 404") {
		t.Errorf("%v, %d requests", f.errs, len(refuses.got))
	}
}

func TestAReceiverThatHangsHoldsNothingUp(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	d := newDesk(t)
	f := &failures{}
	p := NewPost(t.Context(), []Receiver{Slack(s.URL + "/hunter2"), Slack(d.URL)}, f.add)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 2 * waiting {
			p.Send(notice)
		}
	}()
	select {
	case <-sent:
	case <-time.After(time.Minute):
		t.Fatal("Send waits for the receiver")
	}
	for d.requests() == 0 { // the receiver beside it gets its notices
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the receiver beside it got nothing")
		}
	}
	p.Close(100 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 || strings.Contains(strings.Join(f.errs, ""), "hunter2") {
		t.Errorf("%d failures: %v", len(f.errs), f.errs)
	}
}
