package verdict_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// parseScript reads the section "timeline" of a case. "include NAME" stands for
// the lines of testdata/NAME.script, and "without WORD…" takes out those lines
// before it whose words after the time begin so.
func parseScript(text string) (*script, error) {
	lines, err := expand(text)
	if err != nil {
		return nil, err
	}
	s := &script{}
	var errs []error
	for _, words := range lines {
		if err := s.line(words); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", words, err))
		}
	}
	return s, errors.Join(errs...)
}

func expand(text string) ([][]string, error) {
	var out [][]string
	for i, line := range strings.Split(text, "\n") {
		words, err := fields(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("timeline line %d: %q: %w", i+1, line, err)
		case len(words) == 0:
		case words[0] == "include" && len(words) == 2:
			b, err := os.ReadFile("testdata/" + words[1] + ".script")
			if err != nil {
				return nil, fmt.Errorf("timeline line %d: %w", i+1, err)
			}
			more, err := expand(string(b))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", words[1], err)
			}
			out = append(out, more...)
		case words[0] == "without":
			before := len(out)
			out = slices.DeleteFunc(out, func(w []string) bool {
				return len(w) >= len(words) && slices.Equal(w[1:len(words)], words[1:])
			})
			if len(out) == before {
				return nil, fmt.Errorf("timeline line %d: %q takes nothing out", i+1, line)
			}
		default:
			out = append(out, words)
		}
	}
	return out, nil
}

// fields splits a line at blanks outside of quotes, up to a "#".
func fields(line string) ([]string, error) {
	var out []string
	for {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			return out, nil
		case line[0] == '"':
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("a quote does not end")
			}
			u, err := strconv.Unquote(q)
			if err != nil {
				return nil, err
			}
			out, line = append(out, u), line[len(q):]
		default:
			n := strings.IndexAny(line, " \t")
			if n < 0 {
				n = len(line)
			}
			out, line = append(out, line[:n]), line[n:]
		}
	}
}

// span reads "LO..HI" or "T".
func span(w string) (lo, hi time.Duration, err error) {
	a, b, two := strings.Cut(w, "..")
	if lo, err = time.ParseDuration(a); err != nil {
		return 0, 0, err
	}
	if !two {
		return lo, lo, nil
	}
	if hi, err = time.ParseDuration(b); err == nil && hi < lo {
		err = fmt.Errorf("%s ends before it begins", w)
	}
	return lo, hi, err
}

func (s *script) line(w []string) error {
	lo, hi, err := span(w[0])
	if err != nil {
		return err
	}
	if len(w) < 2 {
		return fmt.Errorf("a time and nothing else")
	}
	class, node, _ := strings.Cut(w[1], "/")
	e := timeline.Event{By: w[1]}
	switch class {
	case "app", "fresh", "old", "direct":
		e.Kind = timeline.Write
	case "role", "health", "member":
		e.Kind, e.Node = timeline.Kind(class), node
	case "redundancy":
		e.Kind = timeline.Redundancy
	default:
		return s.event(lo, hi, w[1:])
	}
	return s.results(lo, hi, e, w[2:])
}

// results expands one line into the results of a stream.
func (s *script) results(lo, hi time.Duration, e timeline.Event, w []string) error {
	if len(w) == 0 {
		return fmt.Errorf("what did it say?")
	}
	e.Value, w = w[0], w[1:]
	every, takes, until := time.Duration(0), time.Millisecond, time.Duration(0)
	for len(w) > 0 {
		var to *time.Duration
		switch w[0] {
		case "unsent":
			e.Data = json.RawMessage(`{"unsent":true}`)
			w = w[1:]
			continue
		case "late":
			if len(w) > 1 {
				e.Data = json.RawMessage(`{"late_ms":` + w[1] + `}`)
			}
		case "every":
			to = &every
		case "takes":
			to = &takes
		case "until":
			to = &until
		case "said":
			if len(w) > 1 {
				e.Evidence = w[1]
			}
		default:
			n, epoch, _ := strings.Cut(w[0], "@")
			if e.Node == "" {
				e.Node = n
			}
			e.Epoch = epoch
			w = w[1:]
			continue
		}
		if len(w) < 2 {
			return fmt.Errorf("%s what?", w[0])
		}
		if to != nil {
			d, err := time.ParseDuration(w[1])
			if err != nil {
				return err
			}
			*to = d
		}
		w = w[2:]
	}
	if every == 0 {
		s.result(lo, hi, e)
		return nil
	}
	for t := lo; t < hi; t += every {
		s.result(t, max(t+takes, until), e)
	}
	return nil
}

// event reads all lines that are not of a stream.
func (s *script) event(lo, hi time.Duration, w []string) error {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	e := timeline.Event{Kind: timeline.Kind(w[0]), By: "script"}
	switch w[0] {
	case "fault":
		return s.fault(lo, hi, w[1:])
	case "buckets":
		d, err := time.ParseDuration(arg(1))
		if err == nil {
			s.buckets(lo, hi, d)
		}
		return err
	case "leader":
		e.Node, e.Epoch, _ = strings.Cut(arg(1), "@")
		if e.Node == "none" {
			e.Node = ""
		}
		e.By = cmp.Or(arg(2), "dcs")
	case "restart", "leftover":
		e.Kind = map[string]timeline.Kind{"restart": timeline.Restarted, "leftover": timeline.Leftover}[w[0]]
		e.Node, e.Value, e.Evidence = arg(1), arg(2), arg(3)
	case "promoted", "hole":
		e.Kind = map[string]timeline.Kind{"promoted": timeline.Promoted, "hole": timeline.FaultHole}[w[0]]
		e.Node, e.Evidence = arg(1), arg(2)
	case "phase", "unsteady", "aborted", "detected", "alert", "forked", "note", "late", "phantom", "duplicate":
		e.Value, e.Evidence = arg(1), arg(2)
	case "stamp", "hint", "paced":
		return s.person(lo, hi, w)
	case "session-end":
		e.By, e.Evidence = arg(1), arg(2)
	case "at-risk":
		n, err := strconv.ParseInt(arg(1), 10, 64)
		if err != nil {
			return err
		}
		e.N = n
	case "stall":
		e.N = int64(hi - lo)
		if arg(1) == "of" {
			took, err := time.ParseDuration(arg(2))
			if err != nil {
				return err
			}
			e.N = int64(took)
		}
	case "renewed":
		every, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		e.N = int64(every)
	case "audit":
		return s.audit(lo, hi, w[1:])
	case "lost":
		e.Value, e.By = arg(1), "app/0"
		e.Node, e.Epoch, _ = strings.Cut(arg(2), "@")
		e.Evidence = arg(3)
	default:
		return fmt.Errorf("%q is no stream and no event of a script", w[0])
	}
	s.add(lo, hi, e)
	return nil
}

// person reads stamp|hint|paced WHAT WHO ["note"] [PRICE].
func (s *script) person(lo, hi time.Duration, w []string) error {
	if len(w) < 3 {
		return fmt.Errorf("%s WHAT WHO", w[0])
	}
	e := timeline.Event{Kind: timeline.Kind(w[0]), Value: w[1], By: w[2], Data: data(timeline.Stamped{Via: "terminal"})}
	if len(w) > 3 {
		e.Evidence = w[3]
	}
	if e.Kind == timeline.Hint {
		var p timeline.Priced
		if len(w) > 4 {
			price, err := time.ParseDuration(w[4])
			if err != nil {
				return err
			}
			p.Seconds = price.Seconds()
		}
		e.N, e.Data = 1, data(p)
	}
	s.add(lo, hi, e)
	return nil
}

// fault reads KEY KIND NODE [prepares] [effect SPAN] [revert SPAN] [none "why"].
func (s *script) fault(lo, hi time.Duration, w []string) error {
	if len(w) < 3 {
		return fmt.Errorf("fault KEY KIND NODE")
	}
	e := timeline.Event{By: w[1], Node: w[2], Value: w[1] + " " + w[2], Data: data(map[string]string{"fault": w[0]})}
	emit := func(k timeline.Kind, lo, hi time.Duration, evidence string) {
		x := e
		x.Kind, x.Evidence = k, evidence
		s.add(lo, hi, x)
	}
	if key := w[0]; len(w) > 3 && w[3] == "prepares" {
		e.Data = data(map[string]any{"fault": key, "prepares": true})
		w = w[1:]
	}
	emit(timeline.FaultPlanned, lo, lo, "")
	emit(timeline.FaultInjected, lo, hi, "")
	for w = w[3:]; len(w) >= 2; w = w[2:] {
		if w[0] == "none" {
			emit(timeline.FaultNoEffect, hi, hi, w[1])
			continue
		}
		a, b, err := span(w[1])
		if err != nil {
			return err
		}
		switch w[0] {
		case "effect":
			emit(timeline.FaultEffect, a, b, "seen")
		case "revert":
			emit(timeline.FaultReverted, a, b, "")
		default:
			return fmt.Errorf("a fault has an effect, a revert or none, and no %q", w[0])
		}
	}
	if len(w) != 0 {
		return fmt.Errorf("%s what?", w[0])
	}
	return nil
}

// audit reads NAME [NODE] [key=number …].
func (s *script) audit(lo, hi time.Duration, w []string) error {
	if len(w) == 0 {
		return fmt.Errorf("which audit?")
	}
	e := timeline.Event{Kind: timeline.Audit, By: "ledger", Value: w[0]}
	counts := map[string]any{"acked": 10000}
	for _, x := range w[1:] {
		key, v, isCount := strings.Cut(x, "=")
		if !isCount {
			e.Node = x
			continue
		}
		if key == "survivor" {
			a, b, err := span(v)
			if err != nil {
				return err
			}
			counts["survivor_ms"] = []float64{timeline.MS(a), timeline.MS(b)}
			continue
		}
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || n != math.Trunc(n) {
			return fmt.Errorf("%s is not a number", x)
		}
		counts[key] = n
	}
	e.Data = data(counts)
	s.add(lo, hi, e)
	return nil
}
