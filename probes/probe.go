package probes

import (
	"context"

	"github.com/dapple-drills/dapple/drills/timeline"
)

// A Probe watches one thing until ctx ends, and says what it saw as events.
//
// Watch returns nil once ctx has ended and everything that it started has. It
// returns an error only for what keeps it from looking at all (a URL that cannot
// be read); what the system does wrong is an event.
type Probe interface {
	Watch(ctx context.Context, emit timeline.Emit) error
}
