// Package probes watches a system from outside and from inside its nodes,
// before, during and after a fault, and says what it saw as events.
//
// A system is known to dapple only by how it is observed: ask a node what it
// claims to be, write as a client, read as an auditor, watch its control plane.
// So the kinds of systems are folders below this one. A probe never changes a
// system (the ledger's own table or keys excepted) and must not know what is
// injected; what its observations mean is package verdict's business.
//
// Automatic retries of drivers are off in every probe: they hide outages and
// make duplicates.
package probes

import (
	"context"
	"net"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/targets"
)

// A Class is what became of a write, by the stage that it reached and the reply
// to it, never by the text of an error.
type Class string

const (
	// Failed: no byte of the write left (dial, TLS, authentication, pool), or it
	// was definitely refused. It must be absent.
	Failed Class = "failed"
	// Acked: success at the configured durability, without a warning. It must
	// be present; if it is absent, it is lost.
	Acked Class = "acked"
	// Degraded: success, with evidence of a weaker durability than configured.
	Degraded Class = "acked-degraded"
	// Unknown: bytes may have left and there is no definite reply.
	Unknown Class = "unknown"
)

// A Role is what a node claims to be.
type Role string

const (
	Primary Role = "primary"     // it says that it takes writes
	Replica Role = "replica"     // it follows a primary, and refuses writes
	None    Role = "none"        // it answers, and is neither (starting, demoted, no quorum)
	Silent  Role = "unreachable" // it did not answer within the deadline
	Untold  Role = "unknown"     // this system does not say what its nodes are: see Reticent
)

// A Claim is a node's own answer to what it is.
type Claim struct {
	Role   Role
	Epoch  string // the lineage that it is on: PostgreSQL timeline, raft term, …
	Detail string // the reply, as evidence
}

// A Where is the point from which a session looks at the system.
type Where struct {
	// Node is the node to talk to; nil means the system's client endpoint.
	Node targets.Node
	// Inside says to dial from inside the network namespace of Node.
	Inside bool
}

// A Write is one unique, append-only write of the ledger.
type Write struct {
	Run    string        // the run's id
	Client int           // the stream's number, dense from 0
	Seq    uint64        // dense per client, from 0
	Sent   time.Duration // on the trial's clock
}

// An Ack is what came back for a Write.
type Ack struct {
	Class Class
	Node  string // which node took it, as the system names it ("" if unknown); see System.NodeName
	Epoch string // the lineage that took it
	Reply string // short and without ids, so that equal outcomes are equal: "57P01 terminating connection", "INSERT 0 1"
}

// What the ledger says of a write that its own client never sent, in place of a
// reply: ReplyNotSent and the reason, which is ReplyBusy when an earlier write of
// the session was still unanswered.
const (
	ReplyNotSent = "not sent: "
	ReplyBusy    = "the session was busy"
)

// A Session is one client's connection. It is used by one goroutine at a time.
type Session interface {
	// Put writes w and classes what became of it. It returns when ctx ends at
	// the latest. After a class that broke the connection, Broken is true.
	Put(ctx context.Context, w Write) Ack
	// Broken says that the connection is of no more use.
	Broken() bool
	Close() error
}

// A System is one running system of one kind, bound to its nodes and its client
// endpoint. Its methods may be called from many goroutines.
type System interface {
	// Role asks the node itself, not a coordinator. A node that does not answer
	// before ctx ends is Silent, with the reason in Detail.
	Role(ctx context.Context, n targets.Node) Claim
	// Open connects. A failure to connect is an Ack of class Failed with the
	// reply as the sender would see it; otherwise ack is nil.
	Open(ctx context.Context, from Where) (s Session, ack *Ack)
	// NodeName maps the name by which the system calls the taker of a write
	// (Ack.Node) to the node's name; "" if there is none.
	NodeName(taker string) string
	// Close ends what Role keeps open.
	Close() error
}

// A Ledger is a System that can hold the ledger's writes and give them back.
type Ledger interface {
	// Prepare makes what Session.Put writes to. It is idempotent.
	Prepare(ctx context.Context, run string) error
	// Clean removes what Prepare made.
	Clean(ctx context.Context, run string) error
	// Ready returns nil once the present primary is out of recovery and w was
	// acknowledged by it and read back.
	Ready(ctx context.Context, w Write) error
	// Digests returns one Digest per client and chunk that has rows at the
	// given point, in one scan. A nil node is the present primary.
	Digests(ctx context.Context, n targets.Node, run string) ([]Digest, error)
	// IDs calls see for each row of the chunk; an id that is there twice is
	// seen twice.
	IDs(ctx context.Context, n targets.Node, run string, c Chunk, see func(seq uint64)) error
}

// ChunkBits is the size of a Chunk: 1 << ChunkBits ids.
const ChunkBits = 16

// A Chunk is the ids [No << ChunkBits, (No + 1) << ChunkBits) of a client.
type Chunk struct {
	Client int
	No     uint64
}

// A Digest tells without the rows whether a chunk holds exactly the ids that it
// should.
type Digest struct {
	Chunk
	Count    uint64
	Min, Max uint64
	Hash     uint64 // order-free, see HashID; 0 if the ids are unique by a constraint and Count, Min and Max suffice
}

// An Observer is a System whose control plane can be watched. Observe emits
// timeline.Leader and timeline.Detected events until ctx ends. What the system
// does wrong is an event; only what keeps it from looking is an error. ready is
// called once, when the first view has been had.
type Observer interface {
	Observe(ctx context.Context, emit timeline.Emit, ready func()) error
}

// A Member is how one node takes part in the redundancy of the system.
type Member struct {
	Node  string
	State string // as timeline.Member events have it: primary, following, lagging, absent
	Epoch string
	Lag   int64  // in the system's own unit (bytes of WAL, raft entries)
	Sync  bool   // it is waited for by commits
	Said  string // the reply, as evidence
}

// Membership is a System that can tell how each node takes part.
type Membership interface {
	Members(ctx context.Context) ([]Member, error)
}

// Settings is a System whose effective configuration can be read.
type Settings interface {
	// Settings returns what is in effect, clamps applied: "ttl": "30s".
	// Where the declared value is another, Notes say so.
	Settings(ctx context.Context) (effective map[string]string, notes []string, err error)
	Versions(ctx context.Context) (map[string]string, error)
}

// A Cause is what the expectation is asked for: the fault as the scenario
// declares it, in plain words, so that no probe imports an injector.
type Cause struct {
	Injector string            // "kill"
	Params   map[string]string // "process": "main", "signal": "KILL", …
	Roles    []string          // what the nodes that it lands on were: "primary"
	For      time.Duration
}

// Bender is a System that may run with other settings than were declared.
type Bender interface {
	// Bent lists the settings that are in effect with another value than the one
	// that was declared.
	Bent(ctx context.Context) ([]Bent, error)
}

// Bent is a setting whose declared value is not in effect.
type Bent struct {
	Name, Declared, Effective string
	Why                       string // who changed it, by what rule
}

// A Range is what the settings predict for a metric: for detection, outage and
// rto from the effect on, for the phases between them their own length.
type Range struct {
	Min, Max time.Duration
	Why      string // the formula with the numbers put in, and its source
	// Modes are other ways that the system is known to take now and then, each
	// with a range of its own.
	Modes []Mode
}

// A Mode is a way that a system is known to take and that is not the usual one.
type Mode struct {
	Name     string // short: "lease refreshed"
	Min, Max time.Duration
	Why      string // when it is taken, and how long it then takes
}

// Expecter is a System that can predict metrics from its effective settings.
type Expecter interface {
	// Expect returns a Range per metric (detection, election, promotion,
	// routing, outage, rto) and whether a failover is expected; ok is false if
	// there is no model for the cause.
	Expect(ctx context.Context, c Cause) (ranges map[string]Range, failover, ok bool, err error)
}

// An Identifier is a System whose servers carry the identity of the cluster that they
// were made for, which no setting changes.
type Identifier interface {
	// Identity asks the server of n, or the one behind the clients' endpoint if n is
	// nil: "PostgreSQL system identifier 7412…". An error says why it cannot be told.
	Identity(ctx context.Context, n targets.Node) (string, error)
}

// Forker is a System that can prove from its own records that two histories
// exist.
type Forker interface {
	Fork(ctx context.Context, emit timeline.Emit) error
}

// Dater is a System that can date a promotion from a source independent of the
// probes (server log, first file of the new lineage). It emits
// timeline.Promoted events for promotions within the trial.
type Dater interface {
	Promotions(ctx context.Context, since time.Time, emit timeline.Emit) error
}

// A Renewer is a System whose claim to the primary role is a lease, the renewals of
// which can be seen: so a fault can be made just after one, or just before the
// next, between which lies all that the detection depends on.
type Renewer interface {
	// Renewals calls seen with the bounds of each renewal, until ctx ends.
	Renewals(ctx context.Context, seen func(lo, hi time.Time)) error
	// RenewedEvery is the pause between renewals by the effective settings. An
	// error says why renewals cannot be seen here.
	RenewedEvery(ctx context.Context) (time.Duration, error)
}

// Reticent is a System that cannot tell all that is measured, since nobody said how
// to ask it.
type Reticent interface {
	// Untold says why, by the name of the metric in the record, or UntoldRoles. A
	// metric that is not among them can be told.
	Untold() map[string]string
}

// UntoldRoles is the key in Untold for what nodes claim to be. Where it is not
// told, System.Role is Untold for every node.
const UntoldRoles = "roles"

// HealthChecker is a System that knows a health check of its own, other than the
// one under "health" in the system file.
type HealthChecker interface {
	// Health asks the check of a node once, as a load balancer does.
	Health(ctx context.Context, n targets.Node) (ok bool, said string)
}

// A Role of a process within a node, for faults that aim at a part of it.
type ProcessNames struct {
	Server  []string // comm of the server that holds the data: "postgres"
	Manager []string // command-line words that mark the HA manager: "patroni"
}

// A Binding is what a system is made from: its nodes, and what the system file
// says of its clients.
type Binding struct {
	Nodes   []targets.Node
	Clients Clients
	URLs    map[string]string // node → where it answers itself, as the system file says it
	Health  string            // URL template with {node}; "" if none is declared
	// Section reads the section of the file that Kind.Section is about; nil if there
	// is none.
	Section func(into any) error
	Extra   map[string]string // what a built-in cluster or the system file adds: "etcd", "scope", …
	// Dial connects from where the clients are, which is not this machine's network;
	// nil if it is. A kind of which there is no such cluster need not know it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Clients is how an application of theirs connects.
type Clients struct {
	DSN       string
	Password  func() (string, error) // nil if there is none
	Connect   time.Duration
	Statement time.Duration
}

// A Section is a part of a system file whose meaning belongs to a kind.
type Section struct {
	// Params is a pointer to the zero value of the struct that it fills.
	Params any
	// Check finds all that is wrong with it; decode fills a struct strictly.
	Check func(decode func(into any) error) error
}

// A Kind is one entry of the catalogue of systems.
type Kind struct {
	Name      string
	Summary   string
	Processes ProcessNames
	// Settings is a pointer to the zero value of what may stand under "settings"
	// in a system file of this kind; nil: there is no such section.
	Settings any
	// Section is what the kind's own section of a system file may hold; nil: there
	// is none. Only http has one, under that name.
	Section *Section
	// MultiPrimary says that every member is a primary of its own: there is no
	// one primary to find, and the lineage is the component, not the node.
	MultiPrimary bool
	// AnyNodeTakesWrites says that a node which is no primary takes writes too,
	// and passes them on: whose they are is told by the epoch alone.
	AnyNodeTakesWrites bool
	// Lock says which phases can be locked on; empty: random only.
	Lock []string
	Open func(ctx context.Context, b Binding) (System, error)
}

// HashID is the hash of one id within a Digest; a chunk's Hash is the XOR of
// them. It is splitmix64's finalizer (Steele, Lea, Flood 2014), which every
// system below can compute or replace by a unique constraint.
func HashID(seq uint64) uint64 {
	z := seq + 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}
