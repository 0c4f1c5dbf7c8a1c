package patroni

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A renewal came after the call of the last read that found the older revision, and
// before the reply of the first that found the newer, whichever endpoint answered,
// and in whatever order the answers came.
func TestARenewalIsBoundedByTheReadsAroundIt(t *testing.T) {
	base := time.Now()
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	var got [][2]time.Duration
	r := &renewals{asked: map[int64]time.Time{}, seen: func(lo, hi time.Time) {
		got = append(got, [2]time.Duration{lo.Sub(base), hi.Sub(base)})
	}}
	r.read(at(0), at(5), 7)     // when this one came is not known
	r.read(at(50), at(55), 7)   // the last call that found it
	r.read(at(40), at(60), 7)   // an older call, answered later
	r.read(at(100), at(104), 9) // renewed
	r.read(at(95), at(120), 7)  // asked before, and answered by a member that was behind
	r.read(at(101), at(130), 9)
	r.read(at(10_000), at(10_003), 12)
	want := [][2]time.Duration{{50 * time.Millisecond, 104 * time.Millisecond}, {101 * time.Millisecond, 10_003 * time.Millisecond}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(r.asked) != 1 {
		t.Errorf("%d revisions are remembered", len(r.asked))
	}
}
