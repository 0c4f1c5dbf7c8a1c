package netns

import (
	"context"
	"os"
	"testing"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// A member whose network or disk cannot be had is an error of who makes the lab, and
// what was made until then goes again.
func TestAMemberWithoutItsPlaceIsAnErrorAndNothingIsLeft(t *testing.T) {
	testenv.NeedRoot(t)
	l, err := New(t.Context(), Named("a")...)
	if err != nil {
		t.Fatal(err)
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	network := l.files[0]
	t.Cleanup(func() { _ = network.Close() })
	l.files[0] = none // no network namespace
	r := rooms{lab: l, of: map[string]*spawner{}}
	if err := r.add("a"); err == nil {
		t.Error("it has a room in what is no network")
	}
	if err := r.close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
