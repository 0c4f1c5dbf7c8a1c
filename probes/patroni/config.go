package patroni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// A config is GET /config: the dynamic configuration as it was declared.
type config map[string]json.RawMessage

func (s *System) config(ctx context.Context) (config, error) {
	return first(ctx, s, "/config", parseConfig)
}

func parseConfig(body []byte) (config, error) {
	var c config
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("reading /config: %w", err)
	}
	if c == nil {
		return nil, fmt.Errorf("reading /config: %q is no configuration", body)
	}
	return c, nil
}

// word is a setting as text; "" if it is not set.
func (c config) word(key string) string {
	raw, ok := c[key]
	if !ok || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// sync says whether synchronous replication is Patroni's to manage; "quorum" is
// a kind of it (since Patroni 4).
func (c config) sync() bool {
	switch strings.ToLower(c.word("synchronous_mode")) {
	case "true", "on", "yes", "quorum":
		return true
	}
	return false
}

// seconds reads a whole number of seconds as Python's int() does: fractions are
// cut off. What it cannot read, Patroni refuses, and stays with what it had.
func (c config) seconds(key string, absent int64) (int64, string) {
	w := strings.TrimSpace(c.word(key))
	if w == "" {
		return absent, ""
	}
	if n, err := strconv.ParseInt(w, 10, 32); err == nil {
		return n, ""
	}
	if f, err := strconv.ParseFloat(w, 64); err == nil && math.Abs(f) < math.MaxInt32 {
		return int64(f), ""
	}
	return absent, fmt.Sprintf("declared %s %q is no number of seconds: Patroni refuses it; taken as %d", key, w, absent)
}

// Patroni's defaults and least values (docs/dynamic_configuration.rst; config.py,
// _validate_and_adjust_timeouts), in seconds.
const (
	defaultTTL, leastTTL             = 30, 20
	defaultLoopWait, leastLoopWait   = 10, 1
	defaultRetryWait, leastRetryWait = 10, 3
	defaultStartTimeout              = 300
)

// timeouts are the effective ones.
type timeouts struct {
	ttl, loopWait, retry time.Duration
	start                time.Duration // primary_start_timeout
}

// clamp applies what Patroni does to declared timeouts, and notes each change.
//
// Least values come first. If then loop_wait + 2 · retry_timeout > ttl, Patroni
// lowers loop_wait, and where that is not enough retry_timeout too.
func (c config) clamp() (timeouts, []string) {
	t, bent, notes := c.bend()
	for _, b := range bent {
		notes = append(notes, fmt.Sprintf("declared %s %s, effective %s (%s)", b.Name, b.Declared, b.Effective, b.Why))
	}
	return t, notes
}

// bend is clamp; notes name only what Patroni cannot read.
func (c config) bend() (t timeouts, bent []probes.Bent, notes []string) {
	ttl, n1 := c.seconds("ttl", defaultTTL)
	loop, n2 := c.seconds("loop_wait", defaultLoopWait)
	retry, n3 := c.seconds("retry_timeout", defaultRetryWait)
	start, n4 := c.seconds("primary_start_timeout", defaultStartTimeout)
	declared := [...]int64{ttl, loop, retry}
	ttl, loop, retry = max(ttl, leastTTL), max(loop, leastLoopWait), max(retry, leastRetryWait)
	switch {
	case leastLoopWait+2*retry > ttl:
		loop, retry = leastLoopWait, (ttl-leastLoopWait)/2
	case loop+2*retry > ttl:
		loop = ttl - 2*retry
	}
	for _, n := range []string{n1, n2, n3, n4} {
		if n != "" {
			notes = append(notes, n)
		}
	}
	for i, e := range [...]struct {
		name string
		is   int64
	}{{"ttl", ttl}, {"loop_wait", loop}, {"retry_timeout", retry}} {
		if declared[i] != e.is {
			bent = append(bent, probes.Bent{
				Name: e.name, Declared: strconv.FormatInt(declared[i], 10), Effective: strconv.FormatInt(e.is, 10),
				Why: "Patroni's bounds and rule loop_wait + 2 * retry_timeout <= ttl",
			})
		}
	}
	return timeouts{ttl: seconds(ttl), loopWait: seconds(loop), retry: seconds(retry), start: seconds(max(0, start))}, bent, notes
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
