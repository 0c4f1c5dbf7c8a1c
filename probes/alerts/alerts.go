// Package alerts watches whether the monitoring of a system notices: it takes what
// Alertmanager sends to a webhook, and says when it came in.
//
// It asks nothing and answers nothing but that it has it; which alerts exist, and who
// else is told of them, is the business of those whose monitoring it is.
package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// most is the longest request that is read.
const most = 4 << 20

// A Receiver takes alerts, as a webhook receiver of Alertmanager (webhook_configs).
type Receiver struct {
	match  map[string]string
	server *http.Server
	done   chan error

	mu   sync.Mutex
	emit timeline.Emit // nil: nobody watches
}

// Listen makes a receiver at an address, of alerts that have all of these labels.
func Listen(ctx context.Context, address string, match map[string]string) (*Receiver, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for alerts: %w", err)
	}
	r := &Receiver{match: match, done: make(chan error, 1)}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second, Addr: l.Addr().String()}
	go func() { r.done <- r.server.Serve(l) }()
	return r, nil
}

// Address is where it listens.
func (r *Receiver) Address() string { return r.server.Addr }

// Close ends it.
func (r *Receiver) Close() error {
	err := r.server.Close()
	if serr := <-r.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// Watch emits each alert that comes in, until ctx ends: what came before is of
// another trial.
func (r *Receiver) Watch(ctx context.Context, emit timeline.Emit) error {
	r.set(emit)
	defer r.set(nil)
	<-ctx.Done()
	return nil
}

func (r *Receiver) set(emit timeline.Emit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emit = emit
}

// ServeHTTP takes a message of Alertmanager (webhook, version 4).
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	var message struct {
		Alerts []struct {
			Status string            `json:"status"`
			Labels map[string]string `json:"labels"`
		} `json:"alerts"`
	}
	if err := json.NewDecoder(io.LimitReader(req.Body, most)).Decode(&message); err != nil || req.Method != http.MethodPost {
		http.Error(w, "this takes what Alertmanager sends to a webhook", http.StatusBadRequest)
		return
	}
	got := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range message.Alerts {
		if r.emit != nil && r.matches(a.Labels) {
			r.emit(began, got, timeline.Event{Kind: timeline.Alert, By: "alertmanager", Value: a.Status, Evidence: words(a.Labels)})
		}
	}
}

func (r *Receiver) matches(labels map[string]string) bool {
	for name, value := range r.match {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// words are the labels, the name of the alert first.
func words(labels map[string]string) string {
	parts := []string{labels["alertname"]}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "alertname" {
			parts = append(parts, name+"="+labels[name])
		}
	}
	return strings.Join(parts, " ")
}
