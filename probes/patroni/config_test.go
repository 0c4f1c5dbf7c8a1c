package patroni

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimeoutsAreClampedAsPatroniDoes(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		declared, notes  string
		ttl, loop, retry time.Duration
	}{
		{`{}`, "", 30 * s, 10 * s, 10 * s},
		{`{"ttl": 30, "loop_wait": 10, "retry_timeout": 10}`, "", 30 * s, 10 * s, 10 * s},
		{`{"ttl": 5}`, "declared ttl 5, effective 20; declared loop_wait 10, effective 1; declared retry_timeout 10, effective 9", 20 * s, 1 * s, 9 * s},
		{`{"ttl": 20, "loop_wait": 10, "retry_timeout": 10}`, "declared loop_wait 10, effective 1; declared retry_timeout 10, effective 9", 20 * s, 1 * s, 9 * s},
		{`{"ttl": 25, "loop_wait": 10, "retry_timeout": 10}`, "declared loop_wait 10, effective 5", 25 * s, 5 * s, 10 * s},
		{`{"ttl": 20, "loop_wait": 0, "retry_timeout": 1}`, "declared loop_wait 0, effective 1; declared retry_timeout 1, effective 3", 20 * s, 1 * s, 3 * s},
		{`{"ttl": "40", "loop_wait": "5", "retry_timeout": 7.9}`, "", 40 * s, 5 * s, 7 * s},
		{`{"ttl": null, "loop_wait": 2, "retry_timeout": 3}`, "", 30 * s, 2 * s, 3 * s},
		{`{"ttl": "soon"}`, `declared ttl "soon" is no number`, 30 * s, 10 * s, 10 * s},
		{`{"ttl": -1, "loop_wait": -1, "retry_timeout": -1}`, "declared ttl -1, effective 20; declared loop_wait -1, effective 1; declared retry_timeout -1, effective 3", 20 * s, 1 * s, 3 * s},
	} {
		conf, err := parseConfig([]byte(c.declared))
		if err != nil {
			t.Fatal(err)
		}
		got, notes := conf.clamp()
		want := timeouts{ttl: c.ttl, loopWait: c.loop, retry: c.retry, start: 300 * s}
		if got != want {
			t.Errorf("%s: %+v, want %+v", c.declared, got, want)
		}
		for i, n := range notes {
			notes[i], _, _ = strings.Cut(n, " (")
			notes[i], _, _ = strings.Cut(notes[i], " of seconds")
		}
		if diff := cmp.Diff(c.notes, strings.Join(notes, "; ")); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", c.declared, diff)
		}
	}
}

func TestSynchronousModeIsReadInAllItsSpellings(t *testing.T) {
	for text, want := range map[string]bool{`true`: true, `"on"`: true, `"quorum"`: true, `"Quorum"`: true, `false`: false, `"off"`: false, `null`: false, `[]`: false} {
		c, err := parseConfig([]byte(`{"synchronous_mode": ` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if c.sync() != want {
			t.Errorf("synchronous_mode %s: %v", text, c.sync())
		}
	}
}

// recorded is what Patroni 4.0.6 answered (made shorter).
const (
	recordedCluster  = `{"members": [{"name": "pg1", "role": "leader", "state": "running", "api_url": "http://10.213.1.11:8008/patroni", "host": "10.213.1.11", "port": 5432, "timeline": 1}, {"name": "pg2", "role": "sync_standby", "state": "streaming", "api_url": "http://10.213.1.12:8008/patroni", "host": "10.213.1.12", "port": 5432, "timeline": 1, "lag": 0}, {"name": "pg3", "role": "replica", "state": "starting", "api_url": "http://10.213.1.13:8008/patroni", "host": "10.213.1.13", "port": 5432, "lag": "unknown"}], "scope": "main"}`
	recordedUnlocked = `{"state": "running", "postmaster_start_time": "2026-11-23 22:55:20.1+00:00", "role": "replica", "server_version": 170006, "xlog": {"received_location": 83886080, "replayed_location": 83886080, "replayed_timestamp": null, "paused": false}, "timeline": 1, "cluster_unlocked": true, "dcs_last_seen": 1795474583, "database_system_identifier": "7575", "patroni": {"version": "4.0.6", "scope": "main", "name": "pg2"}}`
	recordedConfig   = `{"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "maximum_lag_on_failover": 1048576, "synchronous_mode": true, "postgresql": {"use_pg_rewind": true, "parameters": {"max_connections": 200}}}`
)

func TestTheAnswersOfPatroniAreRead(t *testing.T) {
	c, err := parseCluster([]byte(recordedCluster))
	if err != nil || c.leader() != "pg1" || len(c.Members) != 3 || c.Members[2].Timeline != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	s, err := parseStatus([]byte(recordedUnlocked))
	if err != nil || !s.Unlocked || s.Patroni.Version != "4.0.6" || s.Role != "replica" {
		t.Errorf("%+v, %v", s, err)
	}
	conf, err := parseConfig([]byte(recordedConfig))
	if err != nil || !conf.sync() || conf.word("ttl") != "30" {
		t.Errorf("%v, %v", conf, err)
	}
}

func TestWhatIsNoAnswerOfPatroniIsAnError(t *testing.T) {
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"members": null}`, `{"members": [{}]}`, `<html>`, `{"members": [{"name": 7}]}`} {
		if c, err := parseCluster([]byte(body)); err == nil {
			t.Errorf("/cluster %q: %+v", body, c)
		}
		if s, err := parseStatus([]byte(body)); err == nil {
			t.Errorf("/patroni %q: %+v", body, s)
		}
	}
	for _, body := range []string{``, `null`, `[]`, `<html>`} {
		if c, err := parseConfig([]byte(body)); err == nil {
			t.Errorf("/config %q: %v", body, c)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{recordedCluster, recordedUnlocked, recordedConfig, `{"ttl": 1e300}`, `{"ttl": "9999999999999999999"}`, `{"ttl": {}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if c, err := parseCluster(body); err == nil {
			l := c.leader()
			if l != "" && !slices.ContainsFunc(c.Members, func(m member) bool { return m.Name == l }) {
				t.Errorf("leader %q is no member", l)
			}
		}
		_, _ = parseStatus(body)
		conf, err := parseConfig(body)
		if err != nil {
			return
		}
		got, _ := conf.clamp()
		if got.ttl < 20*time.Second || got.loopWait < time.Second || got.retry < 3*time.Second || got.start < 0 || got.loopWait+2*got.retry > got.ttl {
			t.Errorf("%+v breaks Patroni's rules", got)
		}
	})
}

func FuzzProxy(f *testing.F) {
	for _, s := range []string{"inter 1s fall 2 rise 2", "inter 500 fastinter 100ms", "check port 8008", "rise", "rise 0", "inter 2d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseProxy(text)
		if err != nil || p == nil {
			return
		}
		if least, most := p.up(); least < 0 || most < least {
			t.Errorf("%q: up in [%v, %v]", text, least, most)
		}
		if least, most := p.down(); least < 0 || most < least {
			t.Errorf("%q: down in [%v, %v]", text, least, most)
		}
	})
}

func TestHAProxyOptionsAreReadInItsOwnWords(t *testing.T) {
	ms := time.Millisecond
	for text, want := range map[string]proxy{
		"inter 1s fall 2 rise 2 on-marked-down shutdown-sessions": {inter: 1000 * ms, fast: 1000 * ms, rise: 2, fall: 2},
		"inter 3000 fastinter 500ms":                              {inter: 3000 * ms, fast: 500 * ms, rise: 2, fall: 3},
		"check":                                                   {inter: 2000 * ms, fast: 2000 * ms, rise: 2, fall: 3},
	} {
		want.text = text
		got, err := parseProxy(text)
		if err != nil || *got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	got, err := proxyOf(map[string]string{"haproxy.inter": "1s", "haproxy.rise": "3"})
	if err != nil || got.inter != 1000*ms || got.rise != 3 {
		t.Errorf("a mapping: %+v, %v", got, err)
	}
	for _, bad := range []string{"inter", "inter soon", "inter 0", "rise -1", "rise two", "fall 0", "inter 1.5s"} {
		if got, err := parseProxy(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
