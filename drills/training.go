package drills

// Training is what makes a drill one for people.
type Training struct {
	People []Person
	// Pace lets them bring forward what is to come; nil: nobody may.
	Pace Pace
}

// A Pace is asked by the engine what people want. It is used from one goroutine, beside
// those from which people speak.
type Pace interface {
	// Sooner is closed once step n (from 0) is to be injected at once, before its time;
	// for n beyond the last step, once the faults are to be taken back. It is closed for
	// every n once all is over.
	Sooner(n int) <-chan struct{}
	// Over says that no further fault is to be injected, and all are to be taken back.
	Over() bool
}

// TrainingFacts are what the scenario says of a training, for its debrief.
type TrainingFacts struct {
	Task  string `json:"task,omitempty"`
	Hints int    `json:"hints"` // how many could have been shown
}

// sooner is when step n may come before its time: never, if nobody may say so.
func (p *Plan) sooner(n int) <-chan struct{} {
	if p.Training == nil || p.Training.Pace == nil {
		return nil
	}
	return p.Training.Pace.Sooner(n)
}

func (p *Plan) over() bool {
	return p.Training != nil && p.Training.Pace != nil && p.Training.Pace.Over()
}

func (p *Plan) trainingFacts() *TrainingFacts {
	if p.Training == nil {
		return nil
	}
	return &TrainingFacts{Task: p.Scenario.Training.Task, Hints: len(p.Scenario.Training.Hints)}
}

func (p *Plan) people() []Person {
	if p.Training == nil {
		return nil
	}
	return p.Training.People
}
