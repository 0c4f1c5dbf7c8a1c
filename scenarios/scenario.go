// Package scenarios is the language in which a drill is declared: the scenario
// file (what is broken, and what must hold) and the system file (where the
// system is, and what its owners promised).
//
// Reading has three steps that never mix: decode (strict, with positions),
// validate (all problems at once), and compile, which is not here: binding names
// to injectors, probes and nodes is cmd/dapple's business. The package touches
// nothing but the bytes it is given, so "dapple check" works anywhere.
package scenarios

import "time"

// A Scenario declares a drill.
type Scenario struct {
	Name        string     `yaml:"name"`
	Why         string     `yaml:"why,omitempty"`
	Requires    Requires   `yaml:"requires,omitempty"`
	Workload    Workload   `yaml:"workload,omitempty"`
	Steady      Duration   `yaml:"steady,omitempty"`
	Steps       []Step     `yaml:"steps"`
	Settle      Duration   `yaml:"settle,omitempty"`
	StableFor   Duration   `yaml:"stable_for,omitempty"`
	FullFor     Duration   `yaml:"full_for,omitempty"`
	BlastRadius Radius     `yaml:"blast_radius,omitempty"`
	Abort       []Abort    `yaml:"abort,omitempty"`
	Expect      Expect     `yaml:"expect,omitempty"`
	Objectives  Objectives `yaml:"objectives,omitempty"` // may tighten, never loosen, the system's
	Trials      int        `yaml:"trials,omitempty"`
}

// Requires says on which systems the scenario makes sense.
type Requires struct {
	Kind       Strings `yaml:"kind,omitempty"`
	Capability Strings `yaml:"capability,omitempty"`
}

// Workload is the load of the client class app; the other probes have their own
// rates.
type Workload struct {
	Rate    Rate `yaml:"rate,omitempty"`
	Clients int  `yaml:"clients,omitempty"`
}

// A Step is one fault.
type Step struct {
	Inject string   `yaml:"inject"`
	On     Strings  `yaml:"on"`
	With   Params   `yaml:"with,omitempty"`
	For    Duration `yaml:"for,omitempty"`
	At     Duration `yaml:"at,omitempty"`    // after the first step
	Phase  Phase    `yaml:"phase,omitempty"` // random | worst | best
	Pos    Pos      `yaml:"-"`
}

// Radius bounds what the planned faults may touch.
type Radius struct {
	Nodes int `yaml:"nodes,omitempty"`
}

// Abort is a condition that ends the drill; everything is then reverted.
type Abort struct {
	Outage Duration `yaml:"outage,omitempty"`
}

// Expect is what the author expects of the system; nil is undeclared.
type Expect struct {
	Failover *YesNo `yaml:"failover,omitempty"`
}

// Objectives are what the owners of a system promised. A nil one is undeclared:
// reported, not judged.
type Objectives struct {
	Detection  *Duration `yaml:"detection,omitempty"`
	RTO        *Duration `yaml:"rto,omitempty"`
	RPO        *RPO      `yaml:"rpo,omitempty"`
	SplitBrain *Never    `yaml:"split_brain,omitempty"`
	Rejoin     *Duration `yaml:"rejoin,omitempty"`
	Redundancy *Duration `yaml:"redundancy,omitempty"`
	FalseGreen *Duration `yaml:"false_green,omitempty"`
	StaleReads *Never    `yaml:"stale_reads,omitempty"`
	LateWrites *Never    `yaml:"late_writes,omitempty"`
}

// RPO is the most loss that is tolerated, in writes ("0 writes") or as an age
// ("5s"): exactly one is set.
type RPO struct {
	Writes *int64
	Age    *time.Duration
}

// Phase is where in the system's heartbeat cycle the fault is to land.
type Phase string

const (
	Random Phase = "random"
	Worst  Phase = "worst"
	Best   Phase = "best"
)

// Never is an objective whose only value is "never".
type Never bool

// YesNo is written yes or no.
type YesNo bool

// A System describes what is drilled.
type System struct {
	Name        string      `yaml:"name"`
	Kind        string      `yaml:"kind"`
	Environment Environment `yaml:"environment,omitempty"`
	Nodes       Nodes       `yaml:"nodes"`
	Clients     Clients     `yaml:"clients,omitempty"`
	HTTP        Params      `yaml:"http,omitempty"` // for kind http
	Health      Health      `yaml:"health,omitempty"`
	Objectives  Objectives  `yaml:"objectives,omitempty"`
	Design      Design      `yaml:"design,omitempty"`
	Settings    Params      `yaml:"settings,omitempty"` // what the kind needs besides: see its documentation
}

// Environment decides how careful the guardrails are.
type Environment string

const (
	CI         Environment = "ci"
	Staging    Environment = "staging"
	Production Environment = "production"
)

// Nodes says where the nodes are: exactly one way.
type Nodes struct {
	Docker *DockerNodes `yaml:"docker,omitempty"`
	Hosts  []HostNode   `yaml:"hosts,omitempty"`
	SSH    []SSHNode    `yaml:"ssh,omitempty"`
}

// DockerNodes selects containers; filters narrow.
type DockerNodes struct {
	Label   Strings `yaml:"label,omitempty"`
	Compose string  `yaml:"compose,omitempty"`
	Names   Strings `yaml:"names,omitempty"`
}

// HostNode is a node by address; without Process only probes can reach it.
type HostNode struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url,omitempty"`
	Addr string `yaml:"addr,omitempty"`
}

// SSHNode is a node on a machine reached by ssh.
type SSHNode struct {
	Name string `yaml:"name"`
	Host string `yaml:"host"`
}

// Clients is how an application of theirs connects and reconnects.
type Clients struct {
	DSN       string   `yaml:"dsn,omitempty"`
	URL       string   `yaml:"url,omitempty"`
	Password  Secret   `yaml:"password,omitempty"`
	Connect   Duration `yaml:"connect,omitempty"`   // default 1s
	Statement Duration `yaml:"statement,omitempty"` // default 2s
	Backoff   Backoff  `yaml:"backoff,omitempty"`   // default 50ms to 500ms
}

// Backoff doubles From up to To, with jitter.
type Backoff struct {
	From Duration `yaml:"from,omitempty"`
	To   Duration `yaml:"to,omitempty"`
}

// Secret says where a secret is: never in the file itself.
type Secret struct {
	Env  string `yaml:"env,omitempty"`
	File string `yaml:"file,omitempty"`
}

// Health is the check that the load balancer uses; {node} is the node's address.
type Health struct {
	HTTP string `yaml:"http,omitempty"`
	TCP  string `yaml:"tcp,omitempty"`
}

// Design is how the owners built it, in the words of their documents.
type Design struct {
	Pattern   string `yaml:"pattern,omitempty"`
	Detection string `yaml:"detection,omitempty"`
	State     string `yaml:"state,omitempty"`
	Recovery  string `yaml:"recovery,omitempty"`
}
