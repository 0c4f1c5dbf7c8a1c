// Package mechanism tries what of a kernel faults are made of, one mechanism at a
// time: in a network namespace, a process or a control group of its own, which is
// gone afterwards. It is for telling people what a machine can do, and why not.
//
// It makes no fault. Whether one can be made says its injector (Kind.Here), which
// tries what it itself uses.
package mechanism

import "context"

// A Mechanism is one of them.
type Mechanism struct {
	Name string
	For  string // the faults that use it, or would if it were there
	// Try is nil if it works here. The error says what was tried, what came of it,
	// and the way to get it (diag.Hint).
	Try func(ctx context.Context) error
}
