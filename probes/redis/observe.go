package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/drills/timeline"
)

const (
	// pingEvery is how often a subscribed Sentinel is asked for a sign of life.
	// What it publishes lies between the call of the last ping that it answered
	// before, and its arrival.
	pingEvery = 25 * time.Millisecond
	// silentFor is how long a Sentinel may owe an answer before it is asked anew.
	silentFor = time.Second
	// againAfter is the pause before that.
	againAfter = 100 * time.Millisecond
)

// Observe subscribes to everything that each Sentinel publishes, and emits, by
// "sentinel/NODE":
//
//   - timeline.Leader for each change of whom it takes for the primary. The one
//     that leads a failover changes when it has chosen (+selected-slave), the
//     others when they hear of it (+switch-master). The first view is one too.
//   - timeline.Detected when it holds the primary or a replica to be down: by
//     itself (+sdown), and as a quorum does (+odown).
//   - timeline.Note for what explains a long failover: TILT, a lost election.
//
// A Sentinel that cannot be reached, or is silent, is tried again; what changed
// meanwhile is bounded by the last answer before and the first after. The first
// view has been had when every Sentinel was tried and one answered.
func (s *System) Observe(ctx context.Context, emit timeline.Emit, ready func()) error {
	first := &viewed{untried: len(s.sentinels), ready: ready}
	var wg sync.WaitGroup
	for _, x := range s.sentinels {
		w := &watch{s: s, of: x, emit: emit}
		wg.Go(func() { w.run(ctx, first) })
	}
	wg.Wait()
	return nil
}

// viewed calls ready once.
type viewed struct {
	mu      sync.Mutex
	untried int
	one     bool // a Sentinel has answered
	ready   func()
}

// tried notes that a Sentinel was tried, for the first time or again.
func (f *viewed) tried(first, answered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first {
		f.untried--
	}
	f.one = f.one || answered
	if f.untried == 0 && f.one && f.ready != nil {
		f.ready()
		f.ready = nil
	}
}

// A watch is one Sentinel under observation.
type watch struct {
	s    *System
	of   *sentinel
	emit timeline.Emit
	name string

	view    string    // the node that it takes for the primary; "" if not known
	known   time.Time // until when view is known to have been so
	since   time.Time // what comes next was published after that
	chose   string    // whom it chose in a failover that it leads; "" if it leads none
	mu      sync.Mutex
	pinged  map[string]time.Time // payload → call
	pending time.Time            // the oldest call without an answer; zero if none
	next    int
}

// run follows the Sentinel until ctx ends.
func (w *watch) run(ctx context.Context, first *viewed) {
	for n := 0; ctx.Err() == nil; n++ {
		tried := func(answered bool) { first.tried(n == 0, answered) }
		w.follow(ctx, sync.OnceFunc(func() { tried(true) }), sync.OnceFunc(func() { tried(false) }))
		select {
		case <-ctx.Done():
		case <-time.After(againAfter):
		}
	}
}

// follow subscribes, and reads until the connection is over. Of the two functions
// it calls the one that is true, once.
func (w *watch) follow(ctx context.Context, answered, failed func()) {
	began := false
	defer func() {
		if !began {
			failed()
		}
	}()
	look, cancel := context.WithTimeout(ctx, silentFor)
	defer cancel()
	c, err := w.connect(look)
	if err != nil {
		return
	}
	defer c.close()
	asked := time.Now()
	if _, err := c.pipeline(look, command{"PSUBSCRIBE", "*"}); err != nil {
		return
	}
	// What is published from here on waits in the connection.
	w.since = asked
	if err := w.firstView(look, asked); err != nil {
		return
	}
	began = true
	answered()
	w.read(ctx, c)
}

func (w *watch) connect(ctx context.Context) (*conn, error) {
	addr, p, err := w.s.where(ctx, w.of)
	if err != nil {
		return nil, err
	}
	w.name = w.s.name(w.of)
	dial := (&net.Dialer{}).DialContext
	if p != nil {
		dial = p.dialer()
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		host, err := p.address(ctx) // as it is known inside
		if err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(host, port)
	}
	return connect(ctx, addr, w.s.sentinelLogin(), dial)
}

// firstView asks whom it takes for the primary, over a connection of its own: one
// that is subscribed takes no questions.
func (w *watch) firstView(ctx context.Context, asked time.Time) error {
	c, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	o, err := c.opinion(ctx, w.s.client.service)
	if err != nil {
		return err
	}
	if w.view != "" && w.known.Before(asked) {
		asked = w.known
	}
	w.leads(asked, time.Now(), w.s.called(o.host, o.port), fmt.Sprintf("SENTINEL GET-MASTER-ADDR-BY-NAME %s: %s:%s, config-epoch %d", w.s.client.service, o.host, o.port, o.epoch))
	return nil
}

// leads notes whom it takes for the primary, and emits it if that is another.
func (w *watch) leads(lo, hi time.Time, node, evidence string) {
	w.known = hi
	if node == w.view {
		return
	}
	w.view = node
	w.say(lo, hi, timeline.Event{Kind: timeline.Leader, Node: node, Evidence: evidence})
}

func (w *watch) say(lo, hi time.Time, e timeline.Event) {
	e.By = "sentinel/" + w.name
	w.emit(lo, hi, e)
}

// read takes in what comes, until the connection is over.
func (w *watch) read(ctx context.Context, c *conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.pinged, w.pending = map[string]time.Time{}, time.Time{}
	var pinging sync.WaitGroup
	pinging.Go(func() { w.ping(ctx, c) })
	defer pinging.Wait()
	defer cancel()
	_ = c.within(ctx, func() error {
		sub := redigo.PubSubConn{Conn: c.rpc}
		for {
			switch m := sub.Receive().(type) {
			case error:
				return m // it is tried again
			case redigo.Pong:
				w.answered(m.Data)
			case redigo.Message:
				w.heard(w.since, time.Now(), message{m.Channel, string(m.Data)})
			}
		}
	})
}

// ping asks for signs of life, and ends the connection if they fail to come.
func (w *watch) ping(ctx context.Context, c *conn) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		w.mu.Lock()
		silent := !w.pending.IsZero() && now.Sub(w.pending) > silentFor
		w.next++
		data := strconv.Itoa(w.next)
		w.pinged[data] = now
		if w.pending.IsZero() {
			w.pending = now
		}
		w.mu.Unlock()
		if silent || c.send(command{"PING", data}) != nil {
			_ = c.raw.Conn.Close() // whoever reads from it learns so
			return
		}
	}
}

// answered notes the answer to a ping: what comes after it was published after
// its call.
func (w *watch) answered(data string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	call, ok := w.pinged[data]
	if !ok {
		return
	}
	delete(w.pinged, data)
	w.pending = time.Time{}
	for _, t := range w.pinged {
		if w.pending.IsZero() || t.Before(w.pending) {
			w.pending = t
		}
	}
	if call.After(w.since) {
		w.since = call
	}
	if call.After(w.known) {
		w.known = call
	}
}

// heard takes in a message that was published within [lo, hi].
func (w *watch) heard(lo, hi time.Time, m message) {
	said := m.channel + " " + m.payload
	if service, host, port, ok := m.switched(); ok && service == w.s.client.service {
		w.chose = ""
		w.leads(lo, hi, w.s.called(host, port), said)
		return
	}
	kind, service, host, port, ok := m.whom()
	switch {
	case ok && service != w.s.client.service:
		return
	case ok && kind != "sentinel" && (m.channel == "+sdown" || m.channel == "+odown"):
		w.say(lo, hi, timeline.Event{Kind: timeline.Detected, Node: w.s.called(host, port), Value: m.channel, Evidence: said})
	case ok && m.channel == "+selected-slave":
		w.chose = w.view
		w.leads(lo, hi, w.s.called(host, port), said)
	case noted[m.channel] != "":
		w.say(lo, hi, timeline.Event{Kind: timeline.Note, Value: w.name + " " + noted[m.channel], Evidence: said})
		if w.chose != "" && m.channel == "-failover-abort-slave-timeout" {
			w.leads(lo, hi, w.chose, said) // it holds to the old one
			w.chose = ""
		}
	}
}
