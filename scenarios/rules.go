package scenarios

// The rules of the files: diag.Problem.Rule of every problem that this
// package reports. Each has at least one case in testdata/bad.
const (
	// The file as a whole.
	ruleTooBig       = "too-big"       // more than maxFile bytes, maxNodes values or maxDepth levels
	ruleEncoding     = "encoding"      // not UTF-8, or control characters
	ruleEmpty        = "empty"         // no document
	ruleDocuments    = "documents"     // more than one document
	ruleSyntax       = "syntax"        // not YAML
	ruleTab          = "tab"           // a tab in the indentation
	ruleAlias        = "alias"         // an alias that names itself, or multiplies the file
	ruleMergeKey     = "merge-key"     // <<
	ruleTag          = "tag"           // !something
	ruleKey          = "key"           // a key that is no plain word
	ruleDuplicateKey = "duplicate-key" // the same key twice in one mapping
	ruleTooMany      = "too-many"      // more than maxProblems problems

	// One value.
	ruleUnknownKey  = "unknown-key"
	ruleMissingKey  = "missing-key"
	ruleNoValue     = "no-value" // a key with nothing after it
	ruleWrongType   = "wrong-type"
	ruleUnitMissing = "unit-missing" // 15 instead of 15s
	ruleUnit        = "unit"         // a unit that is none
	ruleNegative    = "negative"
	ruleTooLarge    = "too-large" // does not fit
	ruleWord        = "word"      // not one of the few words that may stand here
	ruleZero        = "zero"      // 0 where something is needed: an empty text or list, 0s, 0/s
	ruleSecret      = "secret"    // a secret in the file

	// The scenario.
	ruleInjector      = "injector"     // unknown injector
	ruleParameter     = "parameter"    // the injector does not take its parameters
	ruleRole          = "role"         // unknown role
	ruleKind          = "kind"         // unknown kind of system
	ruleCapability    = "capability"   // unknown capability
	rulePrepares      = "prepares"     // a step that prepares for none
	rulePhase         = "phase"        // a phase that the kind cannot lock on
	ruleFirstAt       = "first-at"     // `at` on the first step
	ruleForMissing    = "for-missing"  // several steps, and one does not say for how long
	ruleExclusive     = "exclusive"    // two faults on one node that exclude each other
	ruleBlastRadius   = "blast-radius" // steps name more nodes than may be touched
	ruleWindow        = "window"       // settle is too short to see what is asked for
	ruleLowRate       = "low-rate"     // an rpo objective with too few writes at risk
	ruleNoPrimaryStep = "no-primary"   // a failover is expected, and no step touches the primary
	ruleAbort         = "abort"        // an abort without a condition
	ruleRequest       = "request"      // a request of kind http that cannot be made, or whose answer tells nothing
	ruleSection       = "section"      // a section that belongs to another kind of system
	ruleNodesWay      = "nodes-way"    // not exactly one way to find the nodes
	ruleFilter        = "filter"       // docker without any filter
	ruleAddress       = "address"      // a URL or an address that is none
	ruleHost          = "host"         // a unit, a pidfile or a command that is none
	ruleNodeName      = "node-name"    // a node's name twice, or one that is a role
	ruleOneOf         = "one-of"       // two keys that exclude each other
	ruleBackoff       = "backoff"      // from is longer than to
	ruleLooser        = "looser"       // an objective looser than the system's
	ruleIncomparable  = "incomparable" // rpo in writes against rpo as an age
	ruleTwice         = "twice"        // a person, a login or a system twice in a roster
	ruleOtherKind     = "other-kind"   // the scenario requires another kind
	ruleUnknownNode   = "unknown-node" // the system has no such node

	ruleMonitoring = "monitoring" // an objective about alerts that nobody would take
	ruleGuardrail  = "guardrail"  // a guardrail that asks nobody, or nothing

	// The schedule.
	ruleWindowOf = "window-of-day" // no stretch of the day
	ruleDates    = "dates"         // no day of the calendar
	ruleCluster  = "cluster"       // no built-in cluster
	ruleTimes    = "times"         // a time zone, an expression, or times at which nothing ever begins
)
