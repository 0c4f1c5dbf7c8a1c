package testcluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// A node that cannot live is told at once, with its own words: what is waited for
// until a deadline is only told to be missing. The node has its volume in memory, as
// in the variants with a small disk, and must be able to write to it.
func TestAClusterWhosePartEndsWhileItStartsSaysWhyAtOnceAndIsGone(t *testing.T) {
	testenv.NeedDocker(t)
	v := patroni{disk: smallDisk}
	c := v.containers()
	c.up = func(ctx context.Context, r *run) error {
		s := &patroniStart{patroni: v, run: r}
		err := r.start(ctx, part{
			kind: partNode, name: nodeName(1), addr: host(r.subnet, nodeHost+1), tmpfs: s.tmpfs(),
			cmd: []string{"sh", "-c", "cd /var/lib/dapple && mkdir data && touch data/x && echo made: $(ls data) >&2; exit 3"},
		})
		if err != nil {
			return err
		}
		<-ctx.Done() // as whoever waits for a primary
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // the image may have to be built
	defer cancel()
	o := Options{Dir: t.TempDir(), Progress: func(string) {}}
	_, err := c.start(ctx, Info{Name: "patroni-smalldisk"}, o)
	if err == nil {
		t.Fatal("it says that it is up")
	}
	for _, want := range []string{"pg1 ended while the cluster was starting (Exited (3)", "made: x"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
