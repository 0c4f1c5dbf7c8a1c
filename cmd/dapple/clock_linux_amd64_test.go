package main

import (
	"testing"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// A clock is set wrong by who may change the memory of others.
func TestAServiceThatTrustsTheClockOnTheWallIsCaught(t *testing.T) {
	testenv.NeedRoot(t)
	scripts(t, "testdata/script-root")
}
