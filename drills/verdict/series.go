package verdict

// A Series is what the trials of a drill say together. Metrics holds one Spread
// per metric that was measured in at least one valid trial, by the name that it
// has in a trial.
type Series struct {
	N       int               `json:"n"`       // trials that count
	Invalid int               `json:"invalid"` // listed, not counted
	Metrics map[string]Spread `json:"metrics"`
}

// A Spread is how a metric was distributed; each figure is an interval in ms.
type Spread struct {
	N      int        `json:"n"`
	Min    [2]float64 `json:"min"`
	Median [2]float64 `json:"median"`
	Max    [2]float64 `json:"max"`
	// PNext is n/(n+1): the probability that the next one is not above Max.
	PNext float64 `json:"p_next"`
}
