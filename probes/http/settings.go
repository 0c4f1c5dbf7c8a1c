package http

import (
	"context"
	"fmt"
	"strings"
)

// Settings are the requests as they are declared: a service tells none of its own
// that would be known here. What headers hold is left out.
func (s *System) Settings(context.Context) (effective map[string]string, notes []string, err error) {
	w := s.svc.write
	m := map[string]string{"write": w.String(), "write.acked": numbers(w.acked)}
	if len(w.refused) > 0 {
		m["write.refused"] = numbers(w.refused)
	}
	if w.timeout > 0 {
		m["write.timeout"] = w.timeout.String()
	}
	if x := s.svc.ids; x != nil {
		m["ids"] = x.String()
	}
	if x := s.svc.role; x != nil {
		m["role"] = fmt.Sprintf("%s: %q is a primary", x, x.primary)
	}
	if x := s.svc.epoch; x != nil {
		m["epoch"] = x.String()
	}
	if x := s.svc.detect; x != nil {
		m["detect"] = fmt.Sprintf("%s: %s", x, x.matches)
	}
	if x := s.svc.health; x != nil {
		m["health"] = fmt.Sprintf("%s: %s", x, numbers(x.ok))
	}
	notes = []string{"kind http reads no settings of the service: nothing is predicted from them"}
	if s.svc.clean == nil {
		notes = append(notes, "http.clean is not declared: what the drill writes stays in the service")
	}
	return m, notes, nil
}

// Versions are the protocol, and what the first node that answers calls its
// server.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	v := map[string]string{"protocol": "HTTP/1.1"}
	r := s.asks()
	if r == nil {
		return v, nil
	}
	for _, p := range s.places {
		got, err := s.look(ctx, p, *r)
		if err != nil {
			continue
		}
		v["protocol"] = got.resp.Proto
		if server := clip(got.resp.Header.Get("Server")); server != "" {
			v["server"] = server
		}
		break
	}
	return v, nil
}

// asks is a request that nodes answer, or nil.
func (s *System) asks() *request {
	switch {
	case s.svc.role != nil:
		return &s.svc.role.request
	case s.svc.health != nil:
		return &s.svc.health.request
	case s.svc.detect != nil:
		return &s.svc.detect.request
	}
	return nil
}

func numbers(list []int) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(list), "[]")), ", ")
}
