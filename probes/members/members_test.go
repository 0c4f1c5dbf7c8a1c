package members

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type system func(ctx context.Context, at time.Duration) ([]probes.Member, error)

type clocked struct {
	f     system
	began time.Time
}

func (c clocked) Members(ctx context.Context) ([]probes.Member, error) {
	return c.f(ctx, time.Since(c.began))
}

func observe(t *testing.T, d time.Duration, f system) timeline.Timeline {
	t.Helper()
	rec := timeline.NewRecorder(time.Now(), 1, 0, nil)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := New(clocked{f, rec.Base()}, []string{"pg1", "pg2"}).Watch(ctx, rec.Emit); err != nil {
		t.Fatal(err)
	}
	return rec.Timeline()
}

// told are the changes in what a stream says.
func told(all timeline.Timeline, by string) (out []string) {
	for _, e := range all {
		line := strings.TrimSpace(fmt.Sprint(e.Value, " ", e.Epoch, " ", e.Evidence))
		if e.By == by && (len(out) == 0 || out[len(out)-1] != line) {
			out = append(out, line)
		}
	}
	return out
}

func TestANodeThatLeavesAndComesBackIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := observe(t, 4*time.Second, func(_ context.Context, at time.Duration) ([]probes.Member, error) {
			first := probes.Member{Node: "pg1", State: "primary", Epoch: "1", Said: fmt.Sprint("at ", at)}
			second := probes.Member{Node: "pg2", State: "following", Epoch: "1", Sync: true, Said: fmt.Sprint("streaming at ", at)}
			switch {
			case at < time.Second:
				return []probes.Member{first, second}, nil
			case at < 2*time.Second:
				return []probes.Member{first}, nil
			case at < 3*time.Second:
				second.State, second.Lag = "lagging", 4096
				return []probes.Member{first, second}, nil
			}
			return []probes.Member{first, second}, nil
		})
		want := []string{
			"following 1 streaming at 0s", "absent  not among the members that the system lists",
			"lagging 1 streaming at 2s", "following 1 streaming at 3s",
		}
		if d := cmp.Diff(want, told(all, "member/pg2")); d != "" {
			t.Errorf("pg2 (-want +got)\n%s", d)
		}
		want = []string{
			"2 members, 1 following, 1 synchronous", "1 members, 0 following, 0 synchronous",
			"2 members, 0 following, 0 synchronous", "2 members, 1 following, 1 synchronous",
		}
		if d := cmp.Diff(want, told(all, By)); d != "" {
			t.Errorf("the whole (-want +got)\n%s", d)
		}
		for _, e := range all {
			if e.Value == "lagging" && e.N != 4096 || e.Value == "following" && e.N != 0 {
				t.Errorf("%s with a lag of %d", e.Value, e.N)
			}
			var data struct {
				Sync bool `json:"sync"`
			}
			if e.By == "member/pg2" && e.Value != "absent" && (json.Unmarshal(e.Data, &data) != nil || !data.Sync) {
				t.Errorf("a synchronous member is told as %s", e.Data)
			}
		}
	})
}

func TestWhatCannotBeAskedIsUnknownAndNotRedundant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := observe(t, 10*time.Second, func(ctx context.Context, at time.Duration) ([]probes.Member, error) {
			if at < 5*time.Second {
				<-ctx.Done()
				return nil, errors.New("the control plane does not answer")
			}
			return nil, nil
		})
		want := []string{"unknown  the control plane does not answer", "0 members, 0 following, 0 synchronous"}
		if d := cmp.Diff(want, told(all, By)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if w := all[0].At.Width(); w != Deadline {
			t.Errorf("an answer was waited for for %v, want %v", w, Deadline)
		}
	})
}

func TestTheEndOfTheWatchIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := observe(t, time.Second, func(ctx context.Context, _ time.Duration) ([]probes.Member, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if len(all) > 0 {
			t.Errorf("a question that the end of the watch cut off was told as %v", all)
		}
	})
}
