package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The settings of a Sentinel on which a failover depends, as SENTINEL MASTER has
// them.
var sentinelSettings = []string{"down-after-milliseconds", "failover-timeout", "quorum", "parallel-syncs"}

// The settings of a server on which it depends what is lost and who takes writes.
var serverSettings = []string{
	"min-replicas-to-write", "min-replicas-max-lag", "appendonly", "appendfsync", "replica-priority",
	"replica-serve-stale-data", "repl-timeout",
}

// Settings are what the Sentinels and the servers have in effect. Where they
// differ among themselves, Notes say so, and the first one's is the value.
func (s *System) Settings(ctx context.Context) (effective map[string]string, notes []string, err error) {
	effective = map[string]string{}
	asked, err := s.asked(ctx)
	if err != nil {
		return nil, nil, err
	}
	g := gathered{effective: effective}
	for _, a := range asked {
		g.take(a.name, sentinelSettings, a.fields)
	}
	effective["sentinels"] = strconv.Itoa(len(s.sentinels))
	if len(asked) < len(s.sentinels) {
		g.notes = append(g.notes, fmt.Sprintf("%d of %d Sentinels tell their settings", len(asked), len(s.sentinels)))
	}
	for i, fields := range s.configs(ctx, &g.notes) {
		g.take(s.places[i].node.Name(), serverSettings, fields)
	}
	if w := s.wait; w.replicas > 0 {
		effective["wait"] = strconv.Itoa(w.replicas)
		effective["wait_timeout"] = "as long as the statement"
		if w.timeout > 0 {
			effective["wait_timeout"] = w.timeout.String()
		}
	}
	return effective, g.notes, nil
}

// gathered is what several said.
type gathered struct {
	effective map[string]string
	notes     []string
}

func (g *gathered) take(who string, names []string, fields map[string]string) {
	for _, name := range names {
		v, told := fields[name]
		if !told {
			continue
		}
		first, there := g.effective[name]
		switch {
		case !there:
			g.effective[name] = v
		case first != v:
			g.notes = append(g.notes, fmt.Sprintf("%s differs: %s has %s, another %s", name, who, v, first))
		}
	}
}

// A named is what one Sentinel said.
type named struct {
	name string
	opinion
}

// asked asks each Sentinel, and returns those that answered, in their order. None
// is an error.
func (s *System) asked(ctx context.Context) ([]named, error) {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	all := make([]named, len(s.sentinels))
	errs := make([]error, len(s.sentinels))
	var wg sync.WaitGroup
	for i, x := range s.sentinels {
		wg.Go(func() {
			w := &watch{s: s, of: x}
			c, err := w.connect(ctx)
			if err == nil {
				all[i].opinion, err = c.opinion(ctx, s.client.service)
				c.close()
			}
			all[i].name = w.name
			if err != nil {
				errs[i] = fmt.Errorf("the Sentinel %s: %s", s.name(x), told(because(ctx, err)))
			}
		})
	}
	wg.Wait()
	var out []named
	for i := range all {
		if errs[i] == nil {
			out = append(out, all[i])
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// configs asks each server for its settings, by its index; one that does not tell
// them is noted.
func (s *System) configs(ctx context.Context, notes *[]string) map[int]map[string]string {
	var mu sync.Mutex
	all := map[int]map[string]string{}
	s.each(func(i int, p *place) {
		err := s.asking(ctx, p, func(ctx context.Context, c *conn) error {
			fields := map[string]string{}
			for _, name := range serverSettings {
				reply, err := c.do(ctx, "CONFIG", "GET", name)
				if err != nil {
					return err
				}
				one, err := pairs(reply)
				if err != nil {
					return err
				}
				maps.Copy(fields, one)
			}
			mu.Lock()
			defer mu.Unlock()
			all[i] = fields
			return nil
		})
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			*notes = append(*notes, fmt.Sprintf("%s does not tell its settings: %s", p.node.Name(), told(because(ctx, err))))
		}
	})
	slices.Sort(*notes)
	return all
}

// Versions are those that the servers run.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	looks := make([]info, len(s.places))
	errs := make([]error, len(s.places))
	s.each(func(i int, p *place) { looks[i], errs[i] = s.look(ctx, p) })
	v := map[string]string{}
	for i, p := range s.places {
		l := looks[i]
		switch {
		case errs[i] != nil || l.version == "":
		case v[l.engine] == "":
			v[l.engine] = l.version
		case v[l.engine] != l.version:
			v[l.engine+" on "+p.node.Name()] = l.version
		}
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("no server of %d tells its version: %w", len(s.places), errors.Join(errs...))
	}
	return v, nil
}

// timing is what decides how a failover goes.
type timing struct {
	downLeast, downMost time.Duration // down-after-milliseconds of the Sentinels
	failover            time.Duration // failover-timeout, the longest
	guard               int           // min-replicas-to-write, the most
	maxLag              time.Duration // min-replicas-max-lag
}

func (s *System) timing(ctx context.Context) (t timing, err error) {
	asked, err := s.asked(ctx)
	if err != nil {
		return t, err
	}
	for i, a := range asked {
		down, err := millis(a.fields, "down-after-milliseconds")
		if err != nil {
			return t, fmt.Errorf("the Sentinel %s: %w", a.name, err)
		}
		fail, err := millis(a.fields, "failover-timeout")
		if err != nil {
			return t, fmt.Errorf("the Sentinel %s: %w", a.name, err)
		}
		if i == 0 {
			t.downLeast = down
		}
		t.downLeast, t.downMost, t.failover = min(t.downLeast, down), max(t.downMost, down), max(t.failover, fail)
	}
	var notes []string // of who does not tell: the others' is taken
	for _, fields := range s.configs(ctx, &notes) {
		n, err1 := strconv.Atoi(fields["min-replicas-to-write"])
		lag, err2 := strconv.Atoi(fields["min-replicas-max-lag"])
		if errors.Join(err1, err2) == nil && lag > 0 { // a lag of 0 switches it off
			t.guard, t.maxLag = max(t.guard, n), max(t.maxLag, time.Duration(lag)*time.Second)
		}
	}
	return t, nil
}

func millis(fields map[string]string, name string) (time.Duration, error) {
	n, err := strconv.ParseInt(fields[name], 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("its %s is %q", name, fields[name])
	}
	return time.Duration(n) * time.Millisecond, nil
}
