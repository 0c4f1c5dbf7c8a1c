package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dapple-drills/dapple/drills/notices"
	"github.com/dapple-drills/dapple/drills/schedule"
)

// receivers are those that the environment names: addresses of webhooks are secrets,
// and stand in no command line.
func receivers(source string) (list []notices.Receiver, err error) {
	if url := os.Getenv("DAPPLE_SLACK_URL"); url != "" {
		list = append(list, notices.Slack(url))
	}
	if url := os.Getenv("DAPPLE_WEBHOOK_URL"); url != "" {
		list = append(list, notices.Webhook(url, os.Getenv("DAPPLE_WEBHOOK_SECRET"), source))
	}
	if url := os.Getenv("DAPPLE_GRAFANA_URL"); url != "" {
		list = append(list, notices.Grafana(url, os.Getenv("DAPPLE_GRAFANA_TOKEN")))
	}
	if server := os.Getenv("DAPPLE_SMTP"); server != "" {
		r, err := notices.Mail{
			Server: server, From: os.Getenv("DAPPLE_SMTP_FROM"), To: os.Getenv("DAPPLE_SMTP_TO"),
			User: os.Getenv("DAPPLE_SMTP_USER"), Password: os.Getenv("DAPPLE_SMTP_PASSWORD"),
		}.Receiver()
		if err != nil {
			return nil, usage(err)
		}
		list = append(list, r)
	}
	return list, nil
}

// lastNotices is how long the end of the scheduler waits for what is not yet told.
const lastNotices = 5 * time.Second

// outlets are all that is told what happens: the log, the meters, and the receivers.
func outlets(ctx context.Context, io stdio, id string, f scheduleFlags, entries []*schedule.Entry) (tell func(schedule.Change), end func() error, err error) {
	to, err := receivers(id)
	if err != nil {
		return nil, nil, err
	}
	m := newMeters(entries)
	stop := func() error { return nil }
	if f.metrics != "" {
		if stop, err = m.serve(ctx, f.metrics); err != nil {
			return nil, nil, usage(err)
		}
	}
	post := notices.NewPost(ctx, to, func(err error) { fmt.Fprintf(io.err, "dapple: %v\n", err) })
	tell = func(c schedule.Change) {
		teller{io.err}.tell(c)
		m.tell(c)
		if n, ok := noticeOf(c); ok {
			post.Send(n)
		}
	}
	return tell, func() error { post.Close(lastNotices); return stop() }, nil
}

// noticeOf is what the world is told of a change; ok is false for trouble, which is
// told to whoever reads the log.
func noticeOf(c schedule.Change) (n notices.Notice, ok bool) {
	if c.Trouble != nil {
		return n, false
	}
	d := c.Decided
	n = notices.Notice{
		ID: fmt.Sprintf("%s/%s/%s", d.Schedule, d.Local, d.State), Time: time.Now(),
		State: string(d.State), Schedule: d.Schedule, Local: d.Local, Why: d.Why, Run: d.Run,
	}
	if c.Entry != nil {
		n.Owner, n.System = c.Entry.Owner, c.Entry.On
	}
	return n, d.State != schedule.Queued
}

// meters are what a Prometheus is told of the scheduler.
type meters struct {
	registry *prometheus.Registry
	firings  *prometheus.CounterVec
	last     *prometheus.GaugeVec
	trouble  prometheus.Counter
}

func newMeters(entries []*schedule.Entry) *meters {
	m := &meters{
		registry: prometheus.NewRegistry(),
		firings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dapple_schedule_firings_total", Help: "Firings of a schedule, by what became of them.",
		}, []string{"schedule", "state"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dapple_schedule_last_timestamp_seconds", Help: "When a firing of a schedule last got into a state.",
		}, []string{"schedule", "state"}),
		trouble: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dapple_schedule_trouble_total", Help: "What kept the scheduler from its work.",
		}),
	}
	count := prometheus.NewGauge(prometheus.GaugeOpts{Name: "dapple_schedules", Help: "Schedules that are kept."})
	count.Set(float64(len(entries)))
	m.registry.MustRegister(m.firings, m.last, m.trouble, count)
	return m
}

func (m *meters) tell(c schedule.Change) {
	if c.Trouble != nil {
		m.trouble.Inc()
		return
	}
	m.firings.WithLabelValues(c.Decided.Schedule, string(c.Decided.State)).Inc()
	m.last.WithLabelValues(c.Decided.Schedule, string(c.Decided.State)).SetToCurrentTime()
}

// serve answers /metrics at an address until stop.
func (m *meters) serve(ctx context.Context, address string) (stop func() error, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return func() error {
		err := s.Close()
		if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}, nil
}
