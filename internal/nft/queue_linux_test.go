package nft

import (
	"testing"

	"github.com/dapple-drills/dapple/internal/testenv"
)

func TestAPacketGoesThroughAQueueAndIsKnownByItsTag(t *testing.T) {
	testenv.NeedRoot(t)
	byTarget, err := TryQueue()
	testenv.Need(t, "nfqueue", err)
	t.Logf("by the target of xtables: %v", byTarget)
}
