package drills

import (
	"time"

	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/scenarios"
)

// Schema is the format of record.json. A change of a name or a meaning gets a
// new number.
const Schema = "dapple.record/v1"

// A Record is all that a drill leaves behind, besides its timeline: the contents
// of record.json. Reports are made from it and the timeline alone.
type Record struct {
	Schema     string          `json:"schema"`
	Run        string          `json:"run"`
	Drill      DrillInfo       `json:"drill"`
	Dapple     ToolInfo        `json:"dapple"`
	Started    time.Time       `json:"started"`
	Finished   time.Time       `json:"finished"`
	System     SystemInfo      `json:"system"`
	Objectives Objectives      `json:"objectives"`
	Verdict    verdict.Verdict `json:"verdict"`
	Reason     string          `json:"reason,omitempty"`
	Claim      string          `json:"claim"`
	ExitCode   int             `json:"exit_code"`
	Seed       int64           `json:"seed"`
	Operator   string          `json:"operator"`
	People     []Person        `json:"people,omitempty"` // who practised, if it was a training
	PrevSHA256 string          `json:"prev_sha256"`
	Notes      []string        `json:"notes,omitempty"` // what plan said of the system: clamps, what cannot be proven
	Trials     []verdict.Trial `json:"trials"`
	Series     verdict.Series  `json:"series"`
	Scenario   Facts           `json:"scenario"`
}

// A Person took part in a drill as what the role says: the trainee faced the
// fault, the trainer led. The name is that of the roster. Who started dapple is
// the record's operator.
type Person struct {
	Name string `json:"name"`
	Role string `json:"role"` // Trainee | Trainer
}

// The roles of a Person.
const (
	Trainee = "trainee"
	Trainer = "trainer"
)

// DrillInfo names the scenario.
type DrillInfo struct {
	Name           string `json:"name"`
	Why            string `json:"why,omitempty"`
	ScenarioSHA256 string `json:"scenario_sha256"`
	ScenarioFile   string `json:"scenario_file,omitempty"`
}

// ToolInfo names the program that made the record.
type ToolInfo struct {
	Version string `json:"version"`
}

// SystemInfo is what was drilled, as it was found.
type SystemInfo struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Environment string            `json:"environment"`
	Critical    bool              `json:"critical,omitempty"` // as its guardrails declare
	Versions    map[string]string `json:"versions"`
	Settings    map[string]string `json:"settings"` // effective
	Design      scenarios.Design  `json:"design"`
	Nodes       []NodeInfo        `json:"nodes"`
}

// NodeInfo is a node and its role before the first fault.
type NodeInfo struct {
	Name string `json:"name"`
	Role string `json:"role"`
}

// Objectives are the declared objectives in the record's units; a nil one was
// not declared.
type Objectives struct {
	DetectionMS  *float64 `json:"detection_ms,omitempty"`
	RTOMS        *float64 `json:"rto_ms,omitempty"`
	RPOWrites    *int64   `json:"rpo_writes,omitempty"`
	RPOMS        *float64 `json:"rpo_ms,omitempty"`
	SplitBrain   string   `json:"split_brain,omitempty"`
	RejoinMS     *float64 `json:"rejoin_ms,omitempty"`
	RedundancyMS *float64 `json:"redundancy_ms,omitempty"`
	FalseGreenMS *float64 `json:"false_green_ms,omitempty"`
	AlertMS      *float64 `json:"alert_ms,omitempty"`
	StaleReads   string   `json:"stale_reads,omitempty"`
	LateWrites   string   `json:"late_writes,omitempty"`
}

// Facts are the scenario's numbers on which the verdict rests, so that an old
// record can be judged again without its scenario file.
type Facts struct {
	RatePerS       float64 `json:"rate_per_s"`
	Clients        int     `json:"clients"`
	SteadyMS       float64 `json:"steady_ms"`
	SettleMS       float64 `json:"settle_ms"`
	StableForMS    float64 `json:"stable_for_ms"`
	FullForMS      float64 `json:"full_for_ms"`
	AppReconnectMS float64 `json:"app_reconnect_ms"`
	FreshPeriodMS  float64 `json:"fresh_period_ms"`
	MultiPrimary   bool    `json:"multi_primary,omitempty"`
	// AnyNodeTakesWrites: see probes.Kind.
	AnyNodeTakesWrites bool              `json:"any_node_takes_writes,omitempty"`
	ExpectFailover     *bool             `json:"expect_failover,omitempty"`
	Bent               []verdict.Bent    `json:"bent,omitempty"`      // settings whose declared value is not in effect
	Untold             map[string]string `json:"untold,omitempty"`    // what the system cannot tell, and why
	NodeDead           map[string]bool   `json:"node_dead,omitempty"` // by fault key
	Steps              []StepFacts       `json:"steps"`
	// Training says that a person faced the fault; nil: nobody.
	Training *TrainingFacts `json:"training,omitempty"`
}

// StepFacts is one step as it was asked for.
type StepFacts struct {
	Inject string            `json:"inject"`
	On     []string          `json:"on"`
	With   map[string]string `json:"with,omitempty"`
	ForMS  float64           `json:"for_ms"`
	AtMS   float64           `json:"at_ms"`
	Phase  string            `json:"phase"`
	Line   int               `json:"line,omitempty"` // where it stands in the scenario file
	Col    int               `json:"col,omitempty"`
}
