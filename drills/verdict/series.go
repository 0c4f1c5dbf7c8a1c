package verdict

// A Series is what the trials of a drill say together. Metrics holds one Spread
// per metric that was measured in at least one trial that counts, by the name
// that it has in a trial. Trials count if they were neither invalid nor aborted,
// and if their phase is that of the first that counts: locked and random ones
// are never pooled.
type Series struct {
	N       int               `json:"n"`       // trials that count
	Invalid int               `json:"invalid"` // listed, not counted
	Aborted int               `json:"aborted"` // likewise
	Apart   int               `json:"apart"`   // likewise: another phase
	Met     int               `json:"met"`     // of N, those that passed
	Metrics map[string]Spread `json:"metrics"`
	// Shares is how much of the time from the effect to the first write through
	// the endpoint went to detection, election, promotion and routing, as a
	// fraction of their sum over all trials in which all four were measured.
	Shares map[string]float64 `json:"shares"`
	// LossBound is the upper bound (95 %) of the probability that a trial loses
	// an acknowledged write, if none did and all were audited twice.
	LossBound *float64 `json:"loss_bound"`
}

// A Spread is how a metric was distributed; each figure is an interval in ms.
type Spread struct {
	N      int        `json:"n"`
	Min    [2]float64 `json:"min"`
	Median [2]float64 `json:"median"`
	Max    [2]float64 `json:"max"`
	// Censored is how many of them were: Max then proves no upper bound.
	Censored int `json:"censored,omitempty"`
	// PNext is n/(n+1): the probability that the next one is not above Max.
	PNext float64 `json:"p_next"`
	// Modes are groups of values that lie apart from each other, fastest first;
	// one if they do not.
	Modes []Mode `json:"modes"`
}

// A Mode is one group of values: how many, and from where to where in ms.
type Mode struct {
	N  int        `json:"n"`
	At [2]float64 `json:"at"`
}
