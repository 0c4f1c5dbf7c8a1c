package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// What the model takes for the parts that no setting decides.
const (
	// startMost bounds the start of a server after a crash, where little WAL is to
	// be replayed, with the rewind or the copy of a small database before it: seen
	// by hand, 6 s.
	startMost = 10 * time.Second
	// promoteMost bounds pg_promote until the first write, with the questions to all
	// nodes before it (up to 3 s to each that is dead) and the other standby that has
	// to find the new primary: seen by hand, 1 s. Wide, because that is few.
	promoteMost = 10 * time.Second
	// retryWithin is the longest that an application of ours waits between two
	// attempts to connect (clients.backoff, its default).
	retryWithin = 500 * time.Millisecond
	// connectDefault is clients.connect's default.
	connectDefault = time.Second
)

// A script promotes a standby when the primary did not answer several times in a row:
// what sites have that have no manager.
type script struct {
	every, timeout time.Duration
	failures       int
	text           string
}

// scriptOf reads settings.failover: "every 1s failures 3 timeout 1s". It is nil for
// "", and for "person": whom no setting predicts.
func scriptOf(text string) (*script, error) {
	words := strings.Fields(text)
	if len(words) == 0 || text == "person" {
		return nil, nil
	}
	s := &script{text: strings.Join(words, " ")}
	for i := 0; i+1 < len(words); i += 2 {
		s.set(words[i], words[i+1])
	}
	if len(words) != 6 || s.every <= 0 || s.timeout <= 0 || s.failures < 1 {
		return nil, fmt.Errorf("%q: say \"person\", or of the script that promotes how often it asks, after how many questions without an answer it acts, and how long it waits for each: \"every 1s failures 3 timeout 1s\"", text)
	}
	return s, nil
}

// set leaves alone what it cannot read.
func (s *script) set(word, value string) {
	switch word {
	case "every":
		s.every, _ = time.ParseDuration(value) // 0 is refused
	case "timeout":
		s.timeout, _ = time.ParseDuration(value)
	case "failures":
		s.failures, _ = strconv.Atoi(value)
	}
}

// acts bounds when the script promotes, from the loss of the primary on: the first
// question that fails comes within a period, each takes up to its time-out, and the
// other node is asked too before a failure is counted.
func (s *script) acts() (least, most time.Duration) {
	n := time.Duration(s.failures)
	return (n - 1) * s.every, n * (s.every + 2*s.timeout)
}

// Expect predicts what the kill of a node does. PostgreSQL moves no role: without a
// script (settings.failover) the primary's node is away until it is started again,
// or until a person promotes, which may be at any time before.
func (s *System) Expect(_ context.Context, c probes.Cause) (map[string]probes.Range, bool, bool, error) {
	m := &model{script: s.script, connect: s.connect, hosts: len(s.endpoint.config.Fallbacks) + 1, held: c.For, synchronous: s.synchronous, nodes: len(s.all())}
	if m.connect == 0 {
		m.connect = connectDefault
	}
	ranges, failover, ok := m.expect(c)
	return ranges, failover, ok, nil
}

// A model is what an expectation rests on.
type model struct {
	script      *script
	connect     time.Duration
	hosts       int // that clients try
	nodes       int
	held        time.Duration // how long the fault is held; 0 for ever
	synchronous bool
}

func (m *model) expect(c probes.Cause) (ranges map[string]probes.Range, failover, ok bool) {
	signal, process := c.Params["signal"], c.Params["process"]
	whole := process == "" || process == "main" || process == "all"
	if c.Injector != "kill" || len(c.Roles) != 1 || !whole || signal != "" && signal != "KILL" {
		return nil, false, false
	}
	if c.Roles[0] != "primary" {
		return m.standby()
	}
	if m.script == nil {
		return m.person()
	}
	least, most := m.script.acts()
	switch {
	case m.held != 0 && m.held < least:
		return m.person()
	case m.held != 0 && m.held < most+promoteMost:
		return nil, false, false
	}
	out := probes.Range{
		Min: least, Max: most + promoteMost + m.reconnect(),
		Why: fmt.Sprintf("the script (%s) acts after %d questions without an answer: [%v, %v]; promotion and the standby that has to follow take up to %v; clients find the new primary within %v", m.script.text, m.script.failures, least, most, promoteMost, m.reconnect()),
	}
	return map[string]probes.Range{"outage": out, "rto": out}, true, true
}

// person is a primary that nothing replaces. There is no range where it is away for
// ever.
func (m *model) person() (map[string]probes.Range, bool, bool) {
	if m.held == 0 {
		return nil, false, true
	}
	out := probes.Range{
		Max: m.held + startMost + m.reconnect(),
		Why: fmt.Sprintf("nothing but a person promotes a standby, at any time before the node is back after %v; then it starts within %v, and clients are back within %v", m.held, startMost, m.reconnect()),
	}
	return map[string]probes.Range{"outage": out, "rto": out}, false, true
}

// standby is the loss of one: if commits wait for it and there is no other one, they
// wait until it is back.
func (m *model) standby() (map[string]probes.Range, bool, bool) {
	out := probes.Range{Max: m.reconnect(), Why: "no write goes through a standby"}
	switch {
	case m.synchronous && m.nodes > 2:
		out.Why = "commits wait for another standby"
	case m.synchronous && m.held == 0:
		return nil, false, true
	case m.synchronous:
		out = probes.Range{Max: m.held + startMost + m.reconnect(), Why: "commits wait for the only standby until it is back"}
	}
	return map[string]probes.Range{"outage": out, "rto": out}, false, true
}

// reconnect bounds how long clients take to find the primary once there is one: they
// try one host after the other.
func (m *model) reconnect() time.Duration {
	return time.Duration(m.hosts)*m.connect + retryWithin
}
