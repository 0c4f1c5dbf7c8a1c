package training

// closed is a gate that is open for good.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Sooner is drills.Pace: closed once step n may come at once.
func (d *Desk) Sooner(n int) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || n < d.forward {
		return closed
	}
	if d.gates[n] == nil {
		d.gates[n] = make(chan struct{})
	}
	return d.gates[n]
}

// Over is drills.Pace: no further fault, and all taken back.
func (d *Desk) Over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// A State is what may be known of a training by those who face it: symptoms, what was
// said, and the price of the next hint.
type State struct {
	Run     string            `json:"run"`
	Task    string            `json:"task,omitempty"`
	Trainee string            `json:"trainee"`
	Trainer string            `json:"trainer,omitempty"`
	Running bool              `json:"running"` // stamps are taken
	Clients int               `json:"clients"` // that write
	Served  int               `json:"served"`  // of them, at this moment
	Roles   map[string]string `json:"roles"`   // what each node says of itself
	Alerts  []string          `json:"alerts"`
	Said    []Line            `json:"said"`
	Shown   []Hint            `json:"hints"`     // those that were shown
	Next    *Hint             `json:"next_hint"` // its price; the text is not told. null: there is none
}

// State is that of this moment.
func (d *Desk) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := State{
		Run: d.o.Run, Task: d.o.Task, Trainee: d.o.Trainee, Trainer: d.o.Trainer, Running: d.emit != nil,
		Clients: len(d.clients), Roles: map[string]string{}, Alerts: append([]string{}, d.alerts...),
		Said: append([]Line{}, d.stamps...), Shown: append([]Hint{}, d.o.Hints[:d.shown]...),
	}
	for _, ok := range d.clients {
		if ok {
			s.Served++
		}
	}
	for node, role := range d.roles {
		s.Roles[node] = role
	}
	if d.shown < len(d.o.Hints) {
		next := d.o.Hints[d.shown]
		next.Text = ""
		s.Next = &next
	}
	return s
}
