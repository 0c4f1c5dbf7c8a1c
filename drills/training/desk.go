// Package training is where the people of a training speak: the trainee who faces a
// fault without knowing it, and whoever leads.
//
// A Desk takes what they say (stamps, asking for a hint, bringing something forward)
// and puts it into the timeline of the trial that runs, where package verdict reads it.
// A Receiver is a Desk that is reached by HTTP on this machine, and a Client speaks to
// it from another process: a second terminal, a web page. The Desk shows symptoms only;
// it does not know what is injected.
package training

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/probes"
)

// ErrNotNow is why something cannot be said: no trial runs, or all is over.
var ErrNotNow = errors.New("no training runs at this moment")

// A Hint may be shown to the trainee, at a price.
type Hint struct {
	N      int     `json:"n"` // from 1
	Text   string  `json:"text"`
	Price  float64 `json:"price_s,omitempty"` // in seconds
	Points int64   `json:"price_points,omitempty"`
}

// Options are what a desk is made with.
type Options struct {
	Run     string
	Task    string // what the trainee is told before
	Trainee string
	Trainer string // "" if nobody leads
	Hints   []Hint
	Steps   int // how many faults may come
}

// Said is what a person says, and how it came in.
type Said struct {
	What string `json:"what"` // a stamp (verdict.Stamps), or next, or end
	By   string `json:"by"`   // the name of the roster; "" for the trainee
	Note string `json:"note,omitempty"`
	Ran  string `json:"ran,omitempty"` // the program that was begun with it
	Via  string `json:"-"`             // terminal, command or webhook
	// Began is when the first of it was heard; zero for now. Its event is from then
	// until it was understood.
	Began time.Time `json:"-"`
}

// The two things by which what is to come is brought forward.
const (
	Next = "next" // the next fault now
	End  = "end"  // no further fault, and all taken back now
)

// most bounds what may be said at once, in bytes: it ends up in the record.
const most = 2000

// A Desk is one training, from several goroutines.
type Desk struct {
	o Options

	mu      sync.Mutex
	emit    timeline.Emit // nil: no trial runs
	shown   int           // hints
	stamps  []Line
	begun   int // faults
	forward int // steps up to this one may come at once
	ended   bool
	claimed bool // the trainee says that it is over
	gates   map[int]chan struct{}
	clients map[string]bool // by stream: it is served
	roles   map[string]string
	alerts  []string
}

// A Line is something that was said, for whoever looks at the training.
type Line struct {
	What string `json:"what"`
	By   string `json:"by"`
	Note string `json:"note,omitempty"`
}

// New makes a desk.
func New(o Options) *Desk {
	return &Desk{o: o, gates: map[int]chan struct{}{}, clients: map[string]bool{}, roles: map[string]string{}}
}

// Watch lets people be heard in the trial whose timeline emit is of, until ctx ends:
// the desk is a probe.
func (d *Desk) Watch(ctx context.Context, emit timeline.Emit) error {
	d.set(emit)
	defer d.set(nil)
	<-ctx.Done()
	return nil
}

func (d *Desk) set(emit timeline.Emit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.emit = emit
}

// Say takes a stamp, or what brings something forward, and returns the index of its
// event.
func (d *Desk) Say(s Said) (event int, err error) {
	e := timeline.Event{Kind: timeline.Stamp, By: d.name(s.By, d.o.Trainee), Value: s.What, Evidence: strings.TrimSpace(s.Note)}
	switch {
	case len(s.Note)+len(s.By)+len(s.Ran) > most:
		return 0, fmt.Errorf("more than %d bytes at once", most)
	case s.What == Next || s.What == End:
		e.Kind, e.By = timeline.Paced, d.name(s.By, firstOf(d.o.Trainer, d.o.Trainee))
	case !slices.Contains(verdict.Stamps(), s.What):
		return 0, fmt.Errorf("%q is no stamp: %s", s.What, strings.Join(verdict.Stamps(), ", "))
	}
	if s.What == Next {
		if err := d.mayNext(); err != nil {
			return 0, err
		}
	}
	e.Data = dataOf(timeline.Stamped{Via: s.Via, Ran: s.Ran})
	return d.put(s.Began, e)
}

// mayNext says why there is no next step.
func (d *Desk) mayNext() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ended || d.forward >= d.o.Steps || d.begun >= d.o.Steps:
		return errors.New("there is no further step")
	case d.begun == 0:
		return errors.New("the first fault has not come yet, and comes by itself")
	}
	return nil
}

// Hint shows the next hint to a person, and has it in the timeline.
func (d *Desk) Hint(by, via string) (Hint, error) {
	d.mu.Lock()
	if d.shown >= len(d.o.Hints) {
		d.mu.Unlock()
		return Hint{}, errors.New("there is no further hint")
	}
	h := d.o.Hints[d.shown]
	if d.emit == nil {
		d.mu.Unlock()
		return Hint{}, ErrNotNow
	}
	d.shown++
	d.mu.Unlock()
	_, err := d.put(time.Time{}, timeline.Event{Kind: timeline.Hint, By: d.name(by, d.o.Trainee), Value: h.Text, N: int64(h.N), Evidence: via,
		Data: dataOf(timeline.Priced{Seconds: h.Price, Points: h.Points})})
	return h, err
}

// put has an event in the timeline of the trial that runs. The timeline calls See for it:
// so it is not called with the desk locked.
func (d *Desk) put(began time.Time, e timeline.Event) (int, error) {
	d.mu.Lock()
	emit := d.emit
	d.mu.Unlock()
	if emit == nil {
		return 0, ErrNotNow
	}
	now := time.Now()
	if began.IsZero() {
		began = now
	}
	return emit(began, now, e), nil
}

func (d *Desk) name(said, otherwise string) string {
	return firstOf(strings.TrimSpace(said), otherwise)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func dataOf(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic("dapple: internal error: " + err.Error()) // texts and numbers
	}
	return data
}

// See is called for each event of the timeline, in order.
func (d *Desk) See(e timeline.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e.Kind {
	case timeline.Write:
		if e.By == "fresh" || strings.HasPrefix(e.By, "app/") {
			d.clients[e.By] = strings.HasPrefix(e.Value, string(probes.Acked))
		}
	case timeline.Role:
		d.roles[e.Node] = e.Value
	case timeline.Alert:
		d.alerts = append(d.alerts, e.Value+": "+e.Evidence)
	case timeline.Stamp, timeline.Paced:
		d.stamps = append(d.stamps, Line{e.Value, e.By, e.Evidence})
		d.heard(e.Value)
	case timeline.Phase:
		if e.Value == "inject" {
			d.begun++
		}
	}
	d.open()
}

func (d *Desk) heard(what string) {
	switch what {
	case Next:
		d.forward = d.begun + 1
	case End:
		d.ended = true
	case verdict.Resolved:
		d.claimed = true
	}
}

// open lets the engine go on where people want it to. That it is resolved is believed
// when every client is served and no further fault is to come.
func (d *Desk) open() {
	if d.claimed && d.begun >= d.o.Steps && d.served() {
		d.ended = true
	}
	for n, gate := range d.gates {
		if gate != nil && (d.ended || n < d.forward) {
			close(gate)
			d.gates[n] = nil
		}
	}
}

func (d *Desk) served() bool {
	for _, ok := range d.clients {
		if !ok {
			return false
		}
	}
	return len(d.clients) > 0
}
