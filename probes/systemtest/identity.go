package systemtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/dapple-drills/dapple/probes"
)

// identity: every server names the same cluster, and so does whoever answers behind
// the clients' endpoint.
func (s *suite) identity(t *testing.T) {
	who, ok := s.sys.(probes.Identifier)
	if !ok {
		return // then preflight says nothing of it either
	}
	s.wait(t, "one identity", func(ctx context.Context) error {
		want, err := who.Identity(ctx, nil)
		if err != nil || want == "" {
			return fmt.Errorf("the endpoint says %q: %w", want, err)
		}
		for _, n := range s.Binding.Nodes {
			if got, err := who.Identity(ctx, n); err != nil || got != want {
				return fmt.Errorf("%s says %q (%w), the endpoint %q", n.Name(), got, err, want)
			}
		}
		return nil
	})
}
