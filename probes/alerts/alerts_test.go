package alerts

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

const message = `{"version":"4","status":"firing","alerts":[
  {"status":"firing","labels":{"alertname":"OrdersDown","service":"orders","severity":"page"}},
  {"status":"firing","labels":{"alertname":"CartsDown","service":"carts"}},
  {"status":"resolved","labels":{"alertname":"OrdersSlow","service":"orders"}}]}`

func TestAlertsOfTheSystemAreEventsOfTheMomentInWhichTheyCame(t *testing.T) {
	r, err := Listen(t.Context(), "127.0.0.1:0", map[string]string{"service": "orders"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	post(t, r, message, http.StatusOK) // nobody watches yet
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan timeline.Event, 10)
	done := make(chan error, 1)
	began := time.Now()
	watching := make(chan struct{})
	go func() {
		close(watching)
		done <- r.Watch(ctx, func(lo, hi time.Time, e timeline.Event) int {
			if lo.Before(began) || hi.Before(lo) || hi.After(time.Now()) {
				t.Errorf("from %v to %v", lo, hi)
			}
			events <- e
			return 0
		})
	}()
	<-watching
	var got []timeline.Event
	for len(got) < 2 { // until it watches
		post(t, r, message, http.StatusOK)
		select {
		case e := <-events:
			got = append(got, e, <-events)
		default:
		}
	}
	if got[0].Kind != timeline.Alert || got[0].Value != "firing" || got[0].Evidence != "OrdersDown service=orders severity=page" ||
		got[1].Value != "resolved" || got[1].Evidence != "OrdersSlow service=orders" {
		t.Errorf("%+v", got)
	}
	post(t, r, "<html>", http.StatusBadRequest)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	post(t, r, message, http.StatusOK) // the trial is over
	if len(events) > 0 {
		t.Errorf("%+v", <-events)
	}
}

func TestAnAddressThatIsTakenIsTold(t *testing.T) {
	r, err := Listen(t.Context(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Listen(t.Context(), r.Address(), nil); err == nil || !strings.Contains(err.Error(), "listen for alerts") {
		t.Errorf("%v", err)
	}
}

func post(t *testing.T, r *Receiver, body string, want int) {
	t.Helper()
	res, err := http.Post("http://"+r.Address(), "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	if res.StatusCode != want {
		t.Errorf("%s, want %d", res.Status, want)
	}
}
