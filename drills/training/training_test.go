package training_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/verdict"
)

// on is a desk in a trial, whose recorder it hears.
func on(t *testing.T, o training.Options) (*training.Desk, *timeline.Recorder) {
	t.Helper()
	d := training.New(o)
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	rec.Subscribe(d.See)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Watch(ctx, rec.Emit) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for !d.State().Running {
		if t.Context().Err() != nil {
			t.Fatal("the desk does not hear")
		}
	}
	return d, rec
}

func phase(rec *timeline.Recorder, name string) {
	rec.Now(timeline.Event{Kind: timeline.Phase, By: "engine", Value: name})
}

func client(rec *timeline.Recorder, by, value string) {
	rec.Now(timeline.Event{Kind: timeline.Write, By: by, Value: value})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhatIsSaidIsAnEventWithWhoAndHow(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Trainer: "tom", Steps: 1, Hints: []training.Hint{{N: 1, Text: "look", Price: 60}}})
	began := time.Now().Add(-time.Second)
	if _, err := d.Say(training.Said{What: verdict.Acted, Note: " promote ", Ran: "pg_ctl", Via: "command", Began: began}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Hint("", "terminal"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Say(training.Said{What: training.End}); err != nil {
		t.Fatal(err)
	}
	got := rec.Timeline()
	if len(got) != 3 {
		t.Fatalf("%d events", len(got))
	}
	if e := got[0]; e.Kind != timeline.Stamp || e.By != "ana" || e.Value != "acted" || e.Evidence != "promote" || string(e.Data) != `{"via":"command","ran":"pg_ctl"}` || e.At.Width() < time.Second {
		t.Errorf("a stamp is %+v", e)
	}
	if e := got[1]; e.Kind != timeline.Hint || e.By != "ana" || e.Value != "look" || e.N != 1 || string(e.Data) != `{"price_s":60}` {
		t.Errorf("a hint is %+v", e)
	}
	if e := got[2]; e.Kind != timeline.Paced || e.By != "tom" || e.Value != training.End {
		t.Errorf("the end is %+v", e)
	}
}

func TestNothingIsTakenThatCannotBeMeant(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 2, Hints: []training.Hint{{N: 1, Text: "one"}}})
	for _, s := range []training.Said{{What: "acked"}, {What: ""}, {What: verdict.Acted, Note: strings.Repeat("x", 4000)}, {What: training.Next}} {
		if _, err := d.Say(s); err == nil {
			t.Errorf("%.40v was taken", s)
		}
	}
	if _, err := d.Hint("ana", "terminal"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Hint("ana", "terminal"); err == nil {
		t.Error("a hint was shown that there is not")
	}
	if n := len(rec.Timeline()); n != 1 {
		t.Errorf("%d events, want that of the hint", n)
	}
	off := training.New(training.Options{Hints: []training.Hint{{N: 1}}})
	if _, err := off.Say(training.Said{What: verdict.Acted}); !errors.Is(err, training.ErrNotNow) {
		t.Errorf("without a trial: %v", err)
	}
	if _, err := off.Hint("", ""); !errors.Is(err, training.ErrNotNow) || len(off.State().Shown) != 0 {
		t.Errorf("without a trial: %v, and the hint is used up: %v", err, off.State().Shown)
	}
}

func TestTheTrainerBringsTheNextFaultForwardOnce(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 2})
	first, second, end := d.Sooner(0), d.Sooner(1), d.Sooner(2)
	phase(rec, "inject")
	if _, err := d.Say(training.Said{What: training.Next}); err != nil {
		t.Fatal(err)
	}
	if !closed(first) || !closed(second) || closed(end) || d.Over() {
		t.Errorf("after next: %v %v %v over=%v", closed(first), closed(second), closed(end), d.Over())
	}
	phase(rec, "inject")
	if _, err := d.Say(training.Said{What: training.Next}); err == nil {
		t.Error("there was no third step")
	}
	if _, err := d.Say(training.Said{What: training.End}); err != nil {
		t.Fatal(err)
	}
	if !closed(end) || !closed(d.Sooner(2)) || !d.Over() {
		t.Error("the end did not end it")
	}
}

func TestResolvedIsBelievedWhenClientsAreServedAndNothingIsToCome(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 2})
	end := d.Sooner(2)
	phase(rec, "inject")
	client(rec, "fresh", "failed")
	client(rec, "app/0", "acked")
	if _, err := d.Say(training.Said{What: verdict.Resolved}); err != nil {
		t.Fatal(err)
	}
	if closed(end) {
		t.Fatal("believed while a client fails")
	}
	client(rec, "fresh", "acked")
	if closed(end) {
		t.Fatal("believed although a fault is to come")
	}
	phase(rec, "inject")
	if !closed(end) || !d.Over() {
		t.Error("not believed")
	}
}

func TestTheStateTellsSymptomsAndNoHintBeforeItsPriceIsPaid(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 1, Task: "mend it", Hints: []training.Hint{{N: 1, Text: "secret", Points: 5}}})
	rec.Now(timeline.Event{Kind: timeline.FaultEffect, Node: "pg1", By: "kill", Value: "SIGKILL"})
	rec.Now(timeline.Event{Kind: timeline.Role, Node: "pg1", By: "role/pg1", Value: "unreachable"})
	client(rec, "fresh", "failed")
	client(rec, "app/0", "acked")
	client(rec, "direct/pg2", "failed")
	data, err := json.Marshal(d.State())
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"secret", "kill", "KILL"} {
		if strings.Contains(string(data), no) {
			t.Errorf("the state tells %q: %s", no, data)
		}
	}
	s := d.State()
	if s.Clients != 2 || s.Served != 1 || s.Roles["pg1"] != "unreachable" || s.Next == nil || s.Next.Points != 5 {
		t.Errorf("the state is %s", data)
	}
}

func TestAReceiverIsReachedByWhoMayReadTheRunDirectoryAlone(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 1, Hints: []training.Hint{{N: 1, Text: "look"}}})
	dir := t.TempDir()
	r, err := training.Listen(t.Context(), "127.0.0.1:0", dir, d)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, training.AccessFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	c, err := training.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stamp(t.Context(), training.Said{What: verdict.Acknowledged, By: "bo"}); err != nil {
		t.Fatal(err)
	}
	if h, err := c.Hint(t.Context(), ""); err != nil || h.Text != "look" {
		t.Errorf("hint %+v, %v", h, err)
	}
	if err := c.Stamp(t.Context(), training.Said{What: "nonsense"}); err == nil || !strings.Contains(err.Error(), "is no stamp") {
		t.Errorf("nonsense: %v", err)
	}
	if err := c.Stamp(t.Context(), training.Said{What: training.End}); err == nil {
		t.Error("the end is no stamp")
	}
	if s, err := c.State(t.Context()); err != nil || len(s.Said) != 1 || s.Said[0].By != "bo" {
		t.Errorf("state %+v, %v", s, err)
	}
	if e := rec.Timeline()[0]; string(e.Data) != `{"via":"command"}` {
		t.Errorf("it came in as %s", e.Data)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("how it is reached is still told: %v", err)
	}
	if err := c.Stamp(t.Context(), training.Said{What: verdict.Acted}); !errors.Is(err, training.ErrNotNow) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := training.Open(dir); !errors.Is(err, training.ErrNotNow) {
		t.Errorf("after its end: %v", err)
	}
}

func TestAWebhookNeedsTheTokenAndMaySendMoreThanIsAskedFor(t *testing.T) {
	d, rec := on(t, training.Options{Trainee: "ana", Steps: 1})
	r, err := training.Listen(t.Context(), "127.0.0.1:0", t.TempDir(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	post := func(token, path, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.Access().URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		return res.StatusCode
	}
	token, good := r.Access().Token, `{"what": "acknowledged", "by": "ana", "channel": "#ops"}`
	var got []int
	for _, p := range [][3]string{
		{"", "/stamp", good}, {"wrong", "/stamp", good}, {token + "x", "/stamp", good},
		{token, "/stamp", "not json"}, {token, "/stamp", `{"what":"acked"}`}, {token, "/pace", good}, {token, "/nowhere", good},
		{token, "/stamp", `{"note":"` + strings.Repeat("x", 1<<20) + `"}`}, {token, "/stamp", good},
	} {
		got = append(got, post(p[0], p[1], p[2]))
	}
	if want := []int{401, 401, 401, 400, 409, 400, 404, 400, 200}; !slices.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	if es := rec.Timeline(); len(es) != 1 || string(es[0].Data) != `{"via":"webhook"}` {
		t.Errorf("events %+v", es)
	}
}
