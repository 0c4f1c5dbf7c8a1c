package verdict

import (
	"encoding/json"
	"fmt"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// The stamps, in the order in which a person usually comes to them.
const (
	Acknowledged = "acknowledged" // somebody knows
	Diagnosed    = "diagnosed"    // what it is
	Decided      = "decided"      // what to do
	Acted        = "acted"        // what was decided is being done
	Resolved     = "resolved"     // it is over, says the person
)

// Stamps lists them.
func Stamps() []string { return []string{Acknowledged, Diagnosed, Decided, Acted, Resolved} }

// Training is how the people fared who faced a fault: what they stamped, and the time
// from the effect until service split into three. It judges nobody: no finding and no
// verdict rests on it.
type Training struct {
	Stamps []Stamped `json:"stamps"`
	Hints  []Hinted  `json:"hints"`
	Paced  []Stamped `json:"paced"` // by the trainer: next, end

	// Told is from the effect until the monitoring of the system told of it; Alert until
	// a person stamped anything, which says that somebody knew.
	Told  *Metric `json:"told"`
	Alert *Metric `json:"alert"`
	// Human is from there to the last action before service was back, and Machine from
	// that action until service. Total is from the effect until service.
	Human   *Metric `json:"human"`
	Machine *Metric `json:"machine"`
	Total   *Metric `json:"total"`
	// Closing is from service until the person said that it was over.
	Closing *Metric `json:"closing"`

	PriceS      float64           `json:"price_s"`      // of the hints that were shown
	PricePoints int64             `json:"price_points"` // likewise
	Reasons     map[string]string `json:"reasons"`      // why one is null, by its name
}

// Stamped is one stamp, in ms since the trial began.
type Stamped struct {
	What  string     `json:"what"`
	By    string     `json:"by"`
	At    [2]float64 `json:"at"`
	Note  string     `json:"note,omitempty"`
	Via   string     `json:"via,omitempty"`
	Ran   string     `json:"ran,omitempty"`
	Event int        `json:"event"`
}

// Hinted is a hint that was shown, with its price in seconds or points.
type Hinted struct {
	N      int64      `json:"n"`
	Text   string     `json:"text"`
	By     string     `json:"by"`
	At     [2]float64 `json:"at"`
	PriceS float64    `json:"price_s,omitempty"`
	Points int64      `json:"price_points,omitempty"`
	Event  int        `json:"event"`
}

// training reads it off the timeline; nil for a drill that nobody was trained in.
func (j *judge) training() *Training {
	if !j.in.Training {
		return nil
	}
	t := &Training{Stamps: j.stamped(timeline.Stamp), Hints: []Hinted{}, Paced: j.stamped(timeline.Paced), Reasons: map[string]string{}}
	for _, e := range j.kinds[timeline.Hint] {
		var p timeline.Priced
		_ = json.Unmarshal(e.Data, &p) // no price is none
		t.Hints = append(t.Hints, Hinted{N: e.N, Text: e.Value, By: e.By, At: ms(e.At), PriceS: p.Seconds, Points: p.Points, Event: e.I})
		t.PriceS += p.Seconds
		t.PricePoints += p.Points
	}
	known, service := j.firstStamp(), j.serviceBack()
	acted := j.lastAction(service)
	t.Told = t.between("told", j.effect, j.firstAlert())
	t.Alert = t.between("alert", j.effect, known)
	t.Human = t.between("human", known, acted)
	t.Machine = t.between("machine", acted, service.instant)
	t.Total = t.between("total", j.effect, service.instant)
	t.Closing = t.between("closing", service.instant, j.lastStamp(Resolved))
	for _, m := range []*Metric{t.Machine, t.Total} {
		if m != nil {
			m.Censored = service.ours
		}
	}
	return t
}

func (j *judge) stamped(k timeline.Kind) []Stamped {
	out := []Stamped{}
	for _, e := range j.kinds[k] {
		var d timeline.Stamped
		_ = json.Unmarshal(e.Data, &d) // how it came in is no part of what it says
		out = append(out, Stamped{What: e.Value, By: e.By, At: ms(e.At), Note: e.Evidence, Via: d.Via, Ran: d.Ran, Event: e.I})
	}
	return out
}

// between is the metric from one instant to the next. Where their order is not proven
// it begins at 0; where it is proven to be the other one there is none.
func (t *Training) between(name string, from, to instant) *Metric {
	d := to.at.Sub(from.at)
	switch {
	case !from.ok:
		t.Reasons[name] = from.why
	case !to.ok:
		t.Reasons[name] = to.why
	case d.Hi < 0:
		t.Reasons[name] = fmt.Sprintf("its end was %s before its beginning", wordsOf(-d.Hi))
	default:
		return &Metric{LoMS: timeline.MS(max(0, d.Lo)), HiMS: timeline.MS(d.Hi), Events: indexes(from.events, to.events)}
	}
	return nil
}

// sinceEffect says whether an event may be an answer to the fault.
func (j *judge) sinceEffect(e timeline.Event) bool { return j.effect.ok && e.At.Hi >= j.effect.at.Lo }

func (j *judge) firstStamp() instant {
	for _, e := range j.kinds[timeline.Stamp] {
		if j.sinceEffect(e) {
			return at(e.At, e)
		}
	}
	return none("nobody stamped anything after the effect")
}

func (j *judge) lastStamp(what string) instant {
	last := none("nobody stamped %s", what)
	for _, e := range j.kinds[timeline.Stamp] {
		if e.Value == what && j.sinceEffect(e) {
			last = at(e.At, e)
		}
	}
	return last
}

func (j *judge) firstAlert() instant {
	for _, e := range j.kinds[timeline.Alert] {
		if e.Value == "firing" && j.sinceEffect(e) {
			return at(e.At, e)
		}
	}
	return none("no alert came in")
}

// lastAction is the last action that may have brought service back: a first attempt
// that did not is the person's time, and so is what was done after.
func (j *judge) lastAction(service back) instant {
	last := none("nobody stamped %s", Acted)
	for _, e := range j.kinds[timeline.Stamp] {
		switch {
		case e.Value != Acted || !j.sinceEffect(e):
		case service.ok && e.At.Lo > service.at.Hi:
			if !last.ok {
				last.why = "service was back before anybody acted"
			}
		default:
			last = at(e.At, e)
		}
	}
	return last
}

// back is when service was back; ours if that was our own revert's doing, or never.
type back struct {
	instant
	ours bool
}

// serviceBack is the end of the longest outage, of the client to which it came last:
// between the sending of the last request that was not served and the answer of the
// first that was.
func (j *judge) serviceBack() back {
	out := back{instant: none("no client was without service")}
	if !j.from.ok {
		return back{instant: none("no fault was made")}
	}
	for _, v := range j.clients {
		var longest *outage
		for i := range v.outages {
			if o := &v.outages[i]; longest == nil || o.span.Width() > longest.span.Width() {
				longest = o
			}
		}
		if longest == nil {
			continue
		}
		end := timeline.Interval{Lo: min(max(longest.failed, longest.span.Lo), longest.span.Hi), Hi: longest.span.Hi}
		out.merge(end, longest)
	}
	return out
}

func (b *back) merge(end timeline.Interval, o *outage) {
	if !b.ok {
		b.instant = instant{at: end, ok: true}
	}
	b.at = timeline.Interval{Lo: max(b.at.Lo, end.Lo), Hi: max(b.at.Hi, end.Hi)}
	b.events = indexes(b.events, o.events)
	b.ours = b.ours || o.censored
}
