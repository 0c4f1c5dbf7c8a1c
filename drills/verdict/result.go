package verdict

import "github.com/dapple-drills/dapple/drills/timeline"

// An Outcome is how one objective came out.
type Outcome string

const (
	Met           Outcome = "met"          // proven to hold
	Missed        Outcome = "missed"       // proven not to
	Unproven      Outcome = "inconclusive" // the measurement could not tell
	Informational Outcome = "reported"     // no objective was declared: nothing is judged
)

// A Verdict is how a trial or a drill came out.
type Verdict string

const (
	Pass         Verdict = "pass"         // every objective was met
	Fail         Verdict = "fail"         // one was proven missed
	Inconclusive Verdict = "inconclusive" // measured, but too coarsely, or nothing was at risk
	Invalid      Verdict = "invalid"      // the drill did not happen as declared
	Aborted      Verdict = "aborted"      // a guardrail or a person ended it
)

// A Metric is a measured duration with the events that prove it.
type Metric struct {
	LoMS   float64 `json:"lo_ms"`
	HiMS   float64 `json:"hi_ms"`
	Events []int   `json:"events"`
	// Censored says that our own revert, or the end of the window, ended what
	// was measured: it proves that it took at least LoMS, and nothing about the
	// most that it would have taken.
	Censored bool `json:"censored,omitempty"`
}

// A Trial is all that a trial's timeline proves: one element of record.json's
// trials.
type Trial struct {
	N       int     `json:"n"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"`  // the first finding that decided it, in words
	Started string  `json:"started,omitempty"` // RFC 3339, set by the engine
	Phase   Phase   `json:"phase"`
	Expect  Expect  `json:"expect"`

	Faults   []Fault   `json:"faults"`
	Restarts []Restart `json:"restarts"`
	Metrics  Metrics   `json:"metrics"`
	Findings []Finding `json:"findings"`
	// Leftovers are traces that were still there at the end, each with the
	// command that removes it.
	Leftovers []Left `json:"leftovers"`
	// Training is how the people fared who faced the fault; nil if nobody did.
	Training *Training `json:"training,omitempty"`
}

// Phase says where in the heartbeat cycle the faults were to land and landed.
type Phase struct {
	Asked  string `json:"asked"`
	Locked bool   `json:"locked"`
}

// Expect is the author's expectation of a failover, and what came.
type Expect struct {
	Failover *bool  `json:"failover"`          // nil: undeclared
	Outcome  string `json:"outcome,omitempty"` // "failover pg1 → pg2", "no failover", "unknown: …"
}

// Fault is one fault as it was made, proven and taken back; times in ms since
// the trial began.
type Fault struct {
	Kind   string      `json:"kind"`
	Node   string      `json:"node"`
	Does   string      `json:"does"`
	Inject *[2]float64 `json:"inject"`
	Effect *[2]float64 `json:"effect"`
	Revert *[2]float64 `json:"revert"`
	Proof  string      `json:"proof"`
	Events []int       `json:"events"`
	// Prepares: no time counts from it.
	Prepares bool `json:"prepares,omitempty"`
}

// Restart is a node, or its killed process, coming back while the fault's time
// was not over, or by the revert.
type Restart struct {
	Node   string     `json:"node"`
	By     string     `json:"by"` // engine | manager | dapple
	At     [2]float64 `json:"at"`
	Events []int      `json:"events"`
}

// Metrics are the numbers of a trial. Where one is nil (null in JSON), Reasons
// says why, by its name in JSON.
type Metrics struct {
	Detection  *Metric `json:"detection"`
	Election   *Metric `json:"election"`
	Promotion  *Metric `json:"promotion"`
	Routing    *Metric `json:"routing"`
	Outage     *Metric `json:"outage"`     // the longest single outage of the worse client class
	RTO        *Metric `json:"rto"`        // the sum of outages less than 30 s apart, of the worse class
	FenceLag   *Metric `json:"fence_lag"`  // negative: the old primary was fenced before the new one took writes
	Rejoin     *Metric `json:"rejoin"`     // node given back (started again, or fault reverted) to following with lag 0
	Redundancy *Metric `json:"redundancy"` // effect to redundancy as before
	FirstAck   *Metric `json:"first_ack"`  // effect to first acknowledged client write
	Stable     *Metric `json:"stable"`     // effect to the beginning of the first stable time
	Full       *Metric `json:"full"`       // effect to the beginning of the first full time
	FalseGreen *Metric `json:"false_green"`
	FalseRed   *Metric `json:"false_red"`

	Loss         *Loss      `json:"loss"`
	Outages      []Outage   `json:"outages"`
	SplitBrain   SplitBrain `json:"split_brain"`
	StaleReads   *int64     `json:"stale_reads"`
	EpochChanges int        `json:"epoch_changes"`
	GoodputLoss  *float64   `json:"goodput_loss"` // writes
	Workload     Workload   `json:"workload"`
	Tool         Tool       `json:"tool"`

	Expectation map[string]Expected `json:"expectation"`
	Reasons     map[string]string   `json:"reasons"`
}

// Loss is what the audits found; see timeline.Audited.
type Loss struct {
	Acked             int64    `json:"acked"`
	Degraded          int64    `json:"degraded"`
	Unknown           int64    `json:"unknown"`
	Failed            int64    `json:"failed"`
	Lost              int64    `json:"lost"`
	LostDegraded      int64    `json:"lost_degraded"`
	LostBeforePromote int64    `json:"lost_before_promote"`
	LostAfterPromote  int64    `json:"lost_after_promote"`
	RPOLoMS           float64  `json:"rpo_lo_ms"`
	RPOHiMS           float64  `json:"rpo_hi_ms"`
	Recovered         int64    `json:"recovered"`
	Absent            int64    `json:"absent"`
	Late              int64    `json:"late"`
	Phantom           int64    `json:"phantom"`
	Duplicate         int64    `json:"duplicate"`
	AtRisk            int64    `json:"at_risk"` // acknowledged in the last second before the effect
	LostIDs           []string `json:"lost_ids"`
	LostIDsFile       string   `json:"lost_ids_file,omitempty"`
	Events            []int    `json:"events"`
}

// Outage is one time without service, as a client class saw it.
type Outage struct {
	Class    string     `json:"class"`
	Client   string     `json:"client"` // the stream that saw it
	LoMS     float64    `json:"lo_ms"`
	HiMS     float64    `json:"hi_ms"`
	Censored bool       `json:"censored"` // it was ended by our own revert, or was open at the window's end
	Events   []int      `json:"events"`
	At       [2]float64 `json:"at"` // earliest begin, latest end
}

// SplitBrain is the highest proven level: 0 none, 1 dual claim, 2 dual writable,
// 3 divergent.
type SplitBrain struct {
	Level        int        `json:"level"`
	Overlap      *OverlapMS `json:"overlap,omitempty"`
	ProvenAbsent bool       `json:"proven_absent"` // level 2 and 3 are proven not to have happened
	Reason       string     `json:"reason,omitempty"`
	Events       []int      `json:"events"`
}

// OverlapMS bounds how long both sides could acknowledge.
type OverlapMS struct {
	LoMS float64 `json:"lo_ms"`
	HiMS float64 `json:"hi_ms"`
}

// Workload is the client classes' writes over time; the first bucket begins at
// FirstMS.
type Workload struct {
	Baseline float64   `json:"baseline"` // acknowledged writes per second before the effect
	FirstMS  float64   `json:"first_ms"`
	BucketMS float64   `json:"bucket_ms"`
	Acked    []int64   `json:"acked"`
	Degraded []int64   `json:"degraded"`
	Failed   []int64   `json:"failed"`
	Unknown  []int64   `json:"unknown"`
	P50      []float64 `json:"p50"`
	P99      []float64 `json:"p99"`
}

// Tool is how well dapple itself was able to look.
type Tool struct {
	ProbeStallMS float64 `json:"probe_stall_ms"` // longest time that the runner was held up
	ClockEpsMS   float64 `json:"clock_eps_ms"`   // bound of the clocks of runner and agents
}

// Expected is what the settings predict for a metric, and how the trial
// compares.
type Expected struct {
	MinMS float64     `json:"min_ms"`
	MaxMS float64     `json:"max_ms"`
	Why   string      `json:"why,omitempty"`
	Modes []KnownMode `json:"modes,omitempty"`
	Class string      `json:"class,omitempty"` // inside | faster than min | slower than max | second mode | not measured
	Mode  string      `json:"mode,omitempty"`  // of class "second mode": its name
}

// A KnownMode is another way that the system is known to take now and then, with a
// range of its own.
type KnownMode struct {
	Name  string  `json:"name"`
	MinMS float64 `json:"min_ms"`
	MaxMS float64 `json:"max_ms"`
	Why   string  `json:"why,omitempty"`
}

// Bent is a setting that is in effect with another value than was declared.
type Bent struct {
	Name      string `json:"name"`
	Declared  string `json:"declared"`
	Effective string `json:"effective"`
	Why       string `json:"why,omitempty"`
}

// A Finding is one objective, or one law of measurement, with what was wanted,
// what was got, and the events that show it.
type Finding struct {
	Objective string  `json:"objective"` // rto, rpo, split_brain, order, …
	Want      string  `json:"want"`
	Got       string  `json:"got"`
	Outcome   Outcome `json:"outcome"`
	Severity  string  `json:"severity,omitempty"` // "warning" for what is told and does not decide
	Text      string  `json:"text,omitempty"`
	Events    []int   `json:"events"`
}

// Left is a trace that is still there.
type Left struct {
	What    string `json:"what"`
	Node    string `json:"node,omitempty"`
	Command string `json:"command"`
}

// ms is an interval as the record writes it.
func ms(i timeline.Interval) [2]float64 {
	return [2]float64{timeline.MS(i.Lo), timeline.MS(i.Hi)}
}
