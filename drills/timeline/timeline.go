// Package timeline records what happened in a trial, on one clock: that of the
// runner, monotonic, from the moment the trial began.
//
// An event is an interval [Lo, Hi]: what it tells happened at some instant
// within. A duration is the difference of two intervals, so its error is
// carried and never guessed. The clocks of nodes are never used; where one is
// quoted it stands in Evidence.
//
// The package does not judge: what the events mean together is package verdict.
package timeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// An Interval bounds one instant, or one duration: Lo ≤ it ≤ Hi.
type Interval struct{ Lo, Hi time.Duration }

// Sub returns the bounds of the duration from b to a.
func (a Interval) Sub(b Interval) Interval { return Interval{a.Lo - b.Hi, a.Hi - b.Lo} }

// Width is the uncertainty of the instant or duration.
func (a Interval) Width() time.Duration { return a.Hi - a.Lo }

// Before says whether every instant of a is before every instant of b.
func (a Interval) Before(b Interval) bool { return a.Hi < b.Lo }

func (a Interval) String() string { return fmt.Sprintf("[%v, %v]", a.Lo, a.Hi) }

// A Kind says what an event means. The list is closed: verdicts are defined on
// it, and a record with another kind is of a newer dapple.
type Kind string

// What the engine emits; By is "engine".
const (
	// Phase: the trial entered the phase Value: observe, steady, aim, inject,
	// hold, revert, settle, audit, leftovers, end.
	Phase Kind = "phase"
	// Note: something that a reader should know; it decides nothing.
	Note Kind = "note"
	// FaultPlanned: Value says what will be done to Node. By is the kind of the
	// fault in this and the following; Data holds {"fault": key}, and "prepares":
	// true for a fault from which no time counts.
	FaultPlanned Kind = "fault.planned"
	// FaultInjected: the call that makes the fault; At = [before, after].
	FaultInjected Kind = "fault.injected"
	// FaultEffect: an independent look proved that the fault holds; it began
	// within At. Evidence is the proof.
	FaultEffect Kind = "fault.effect"
	// FaultNoEffect: no proof was had in time. The trial is invalid.
	FaultNoEffect Kind = "fault.no-effect"
	// FaultHole: a held fault was found gone within At.
	FaultHole Kind = "fault.hole"
	// FaultReverted: the fault was taken back and seen to be gone within At.
	FaultReverted Kind = "fault.reverted"
	// Leftover: something of dapple's is still there; Value says what, Evidence
	// holds the command that removes it.
	Leftover Kind = "leftover"
	// Restarted: Node, or the process that was killed on it, runs again; Value
	// says by whom: engine, manager or dapple.
	Restarted Kind = "restart"
	// Unsteady: the steady-state hypothesis did not hold; Value says why.
	Unsteady Kind = "unsteady"
	// Aborted: a guardrail tripped, or a person interrupted; Value says which.
	Aborted Kind = "aborted"
)

// What the probes emit. By names the stream: the vantage and a number or node,
// such as "app/0", "fresh", "old/pg1", "direct/pg1", "role/pg1".
const (
	// Write: an attempt to write. Value is its class (probes.Class), Node and
	// Epoch say who took it (empty if unknown), Evidence is the reply. At.Lo is
	// when it was sent (its intended time, in an open loop), At.Hi when the
	// reply came. Streams are compressed into runs: see Stream. N is the number
	// of writes in the run so far: 1 in its first event, all in its last. Data may
	// hold "unsent": true (the client gave it up by itself, which says nothing of the
	// system at that time) and "late_ms": by how much the runner sent it later than
	// intended, from 1 ms on.
	Write Kind = "write"
	// Role: what Node says of itself: primary, replica, or unreachable, at one
	// look; Epoch is the lineage that it says it is on. Compressed into runs.
	Role Kind = "role"
	// Leader: the control plane's view changed: Node is its new leader ("" for
	// none), Epoch its term. It changed within At (the last look with the old
	// view to the first with the new one). By is the observer. The first view of
	// an observer is one too, with the two ends of that look.
	Leader Kind = "leader"
	// Renewed: within At there came a sign that the primary had just renewed the lease
	// that its role rests on; the renewal itself may be a step of its loop older. N is
	// the pause between renewals in nanoseconds, by the settings. It places a fault in
	// a phase of that cycle, and dates nothing. Emitted where a phase is asked for.
	Renewed Kind = "renewed"
	// Detected: the system showed within At that it knows, other than by a
	// change of leader; Value says how. One from before the fault counts for
	// nothing.
	Detected Kind = "detected"
	// Member: how Node takes part, at one look: Value is "primary", "following"
	// (replicating the current lineage, lag 0), "lagging" or "absent". N is the
	// lag in the system's own unit. Compressed into runs.
	Member Kind = "member"
	// Redundancy: the system's redundancy in one line, such as
	// "3 members, 2 streaming, 1 synchronous", or "unknown" when it could not
	// be asked. It is as before when the line is. Compressed into runs.
	Redundancy Kind = "redundancy"
	// Health: what the load balancer's check says of Node at one look: green or
	// red. Compressed into runs.
	Health Kind = "health"
	// Promoted: an independent source (server log, first file of the new
	// lineage) dates the promotion of Node within At.
	Promoted Kind = "promoted"
	// Bucket: counts of the writes that were intended within At; Data is a
	// Counts.
	Bucket Kind = "bucket"
	// AtRisk: N writes of the client classes were acknowledged in the last
	// second before the first effect.
	AtRisk Kind = "at-risk"
	// Audit: one audit was done; Value is A1, A2 or A3, Node where it looked
	// ("" for the client endpoint); Data is an Audited.
	Audit Kind = "audit"
	// Lost: an acknowledged write was looked for and not found. Value is its id
	// "client/seq", By the stream that wrote it, At when it was sent and
	// acknowledged, Node and Epoch who took it, Evidence the audit: it begins
	// with its name (A1, A2). Emitted for acked and acked-degraded writes; Data
	// holds {"class": …}. One write may be missed by several audits.
	Lost Kind = "lost"
	// Late: an unknown write, absent in one audit and present in a later one.
	Late Kind = "late"
	// Phantom: a write that failed, or was never tried, was found.
	Phantom Kind = "phantom"
	// Duplicate: one id was found more than once.
	Duplicate Kind = "duplicate"
	// Forked: the engine's own proof that two histories exist; Value names them.
	Forked Kind = "forked"
	// Stall: the runner itself was held up for N nanoseconds within At:
	// whatever was observed around then is wider than it looks.
	Stall Kind = "stall"
	// Alert: the monitoring of the system told of something: Value is firing or
	// resolved, Evidence the alert. It came in within At.
	Alert Kind = "alert"
	// SessionEnd: the stream By lost its connection, or never had one.
	SessionEnd Kind = "session-end"
)

// What the people of a training emit; By is the person, by the name of the roster.
const (
	// Stamp: By came within At to the point Value: acknowledged, diagnosed, decided,
	// acted or resolved. Evidence is what was said with it; Data is a Stamped.
	Stamp Kind = "stamp"
	// Hint: hint N (from 1) was shown to By; Value is its text. Data is a Priced.
	Hint Kind = "hint"
	// Paced: By brought forward what was to come: Value is next (the next fault now)
	// or end (all faults taken back now). Evidence is what was said with it.
	Paced Kind = "paced"
)

// Stamped is the Data of a Stamp.
type Stamped struct {
	Via string `json:"via"`           // terminal, command or webhook
	Ran string `json:"ran,omitempty"` // the program that the person began with it, without its arguments
}

// Priced is the Data of a Hint: what it costs, in seconds or in points.
type Priced struct {
	Seconds float64 `json:"price_s,omitempty"`
	Points  int64   `json:"price_points,omitempty"`
}

// Kinds lists all kinds of events.
func Kinds() []Kind {
	return []Kind{
		Phase, Note, FaultPlanned, FaultInjected, FaultEffect, FaultNoEffect, FaultHole, FaultReverted,
		Leftover, Restarted, Unsteady, Aborted, Write, Role, Leader, Renewed, Detected, Member, Redundancy, Health,
		Promoted, Bucket, AtRisk, Audit, Lost, Late, Phantom, Duplicate, Forked, Stall, Alert, SessionEnd,
		Stamp, Hint, Paced,
	}
}

// An Event is one thing that was observed. Its index I is unique in the record.
type Event struct {
	I        int             `json:"i"`
	Trial    int             `json:"trial,omitempty"`
	At       Interval        `json:"-"`
	Kind     Kind            `json:"kind"`
	Node     string          `json:"node,omitempty"`
	By       string          `json:"by"`
	Value    string          `json:"value,omitempty"`
	Evidence string          `json:"evidence,omitempty"`
	Epoch    string          `json:"epoch,omitempty"`
	N        int64           `json:"n,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// Counts is the Data of a Bucket: writes of the client classes (app and fresh)
// by outcome, and the latency of the acknowledged ones.
type Counts struct {
	Acked    int64   `json:"acked"`
	Degraded int64   `json:"degraded,omitempty"`
	Failed   int64   `json:"failed,omitempty"`
	Unknown  int64   `json:"unknown,omitempty"`
	P50ms    float64 `json:"p50_ms,omitempty"`
	P99ms    float64 `json:"p99_ms,omitempty"`
}

// Audited is the Data of an Audit: how the ids that were tried were found.
type Audited struct {
	Acked     int64 `json:"acked"`         // tried and acknowledged
	Degraded  int64 `json:"degraded"`      // acknowledged with weaker durability
	Unknown   int64 `json:"unknown"`       // without a definite reply: Recovered + Absent, if all were decided
	Failed    int64 `json:"failed"`        // refused, or never sent
	Lost      int64 `json:"lost"`          // acknowledged (also degraded) and absent
	LostDegr  int64 `json:"lost_degraded"` // of those, degraded
	Recovered int64 `json:"recovered"`     // unknown and present (also late)
	Absent    int64 `json:"absent"`        // unknown and absent
	Late      int64 `json:"late"`
	Phantom   int64 `json:"phantom"`
	Duplicate int64 `json:"duplicate"`
	// SurvivorMS is the acknowledgement time [lo, hi] of the latest acknowledged
	// survivor acked before the earliest loss; null if there is no loss.
	SurvivorMS []float64 `json:"survivor_ms,omitempty"`
	Rows       int64     `json:"rows"` // rows that were there
	TookMS     float64   `json:"took_ms"`
	LostFile   string    `json:"lost_file,omitempty"` // all lost ids, if more than the timeline holds
}

type wire Event

type onWire struct {
	I    int     `json:"i"`
	LoMS float64 `json:"lo_ms"`
	HiMS float64 `json:"hi_ms"`
	wire
}

// MarshalJSON writes e as one line of timeline.jsonl.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(onWire{e.I, MS(e.At.Lo), MS(e.At.Hi), wire(e)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(data []byte) error {
	var w onWire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if w.Kind == "" {
		return errors.New("this is not an event: it has no kind")
	}
	if !(w.LoMS <= w.HiMS) || math.Abs(w.LoMS) > maxMS || math.Abs(w.HiMS) > maxMS {
		return fmt.Errorf("event %d: [%v, %v] ms is not an interval", w.I, w.LoMS, w.HiMS)
	}
	*e = Event(w.wire)
	e.I = w.I
	e.At = Interval{FromMS(w.LoMS), FromMS(w.HiMS)}
	return nil
}

// maxMS is about 50 years in milliseconds: more is no time of a trial, and would
// overflow sums of durations.
const maxMS = 1.6e12

// MS is d in milliseconds, as records give times.
func MS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// FromMS is the inverse of MS, to the nanosecond.
func FromMS(ms float64) time.Duration {
	if ms < 0 {
		return -FromMS(-ms)
	}
	return time.Duration(ms*float64(time.Millisecond) + 0.5)
}

// A Timeline is the events of one trial, in the order in which they were
// recorded. Intervals may overlap; the order decides nothing.
type Timeline []Event
