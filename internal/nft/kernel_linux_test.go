package nft_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/testenv"
)

// namespace is one that nobody else is in.
func namespace(t *testing.T) (path string) {
	t.Helper()
	testenv.NeedRoot(t)
	ns, err := kernel.NewNetNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
}

func dial(t *testing.T, path string) *nft.Conn {
	t.Helper()
	c, err := nft.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tables(t *testing.T, c *nft.Conn) (names []string) {
	t.Helper()
	list, err := c.Tables()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		names = append(names, fmt.Sprint(x.Family, " ", x.Name))
	}
	return names
}

func TestATransactionIsDoneAsAWholeOrNotAtAllAndTheErrorSaysWhatOfIt(t *testing.T) {
	path := namespace(t)
	c := dial(t, path)
	b := &nft.Batch{}
	b.AddTable(nft.Table{Family: nft.Inet, Name: "one"})
	b.AddTable(nft.Table{Family: nft.Inet, Name: "two"})
	b.DeleteTable(nft.Table{Family: nft.Inet, Name: "three"})
	b.AddTable(nft.Table{Family: nft.Inet, Name: "four"})
	if err := c.Commit(b); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "removing table three") {
		t.Errorf("%v, want ENOENT for table three", err)
	}
	if got := tables(t, c); len(got) > 0 {
		t.Errorf("it left %v", got)
	}
	// The socket is none the worse for it.
	b = &nft.Batch{}
	b.AddTable(nft.Table{Family: nft.Inet, Name: "one"})
	if err := c.Commit(b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"inet one"}, tables(t, c)); d != "" {
		t.Error(d)
	}
	if err := c.Commit(b); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a table of that name again: %v, want EEXIST", err)
	}
}

func TestATableBelongsToItsSocketAndIsGoneWithIt(t *testing.T) {
	path := namespace(t)
	owner, other := dial(t, path), dial(t, path)
	mine := nft.Table{Family: nft.Inet, Name: "mine"}
	b := &nft.Batch{}
	b.AddTable(mine)
	if err := owner.Commit(b); err != nil {
		t.Fatal(err)
	}
	b = &nft.Batch{}
	b.DeleteTable(mine)
	if err := other.Commit(b); !errors.Is(err, unix.EPERM) {
		t.Errorf("removed by another: %v, want EPERM", err)
	}
	list, err := other.Tables()
	if err != nil || len(list) != 1 || list[0].Owner != owner.Port() {
		t.Errorf("%+v, %v, want the owner %d", list, err, owner.Port())
	}
	for range 2 {
		if err := owner.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := tables(t, other); len(got) > 0 {
		t.Errorf("after its socket was closed there is %v", got)
	}
	if err := owner.Commit(b); err == nil {
		t.Error("a closed socket can be written to")
	}
}

func TestElementsAreListedWithTheirTimeAndGoWhenItIsOver(t *testing.T) {
	c := dial(t, namespace(t))
	table, set := nft.Table{Family: nft.Inet, Name: "t"}, nft.Set{Name: "s", ID: 1, Key: nft.IPv4(), Timeouts: true, Counting: true}
	b := &nft.Batch{}
	b.AddTable(table)
	b.AddSet(table, set)
	b.AddElements(table, set, []nft.Element{{Key: []byte{10, 0, 0, 1}, Timeout: time.Hour}, {Key: []byte{10, 0, 0, 2}, Timeout: 30 * time.Millisecond}})
	if err := c.Commit(b); err != nil {
		t.Fatal(err)
	}
	again := &nft.Batch{}
	again.DeleteElements(table, set, []nft.Element{{Key: []byte{10, 0, 0, 2}}})
	again.AddElements(table, set, []nft.Element{{Key: []byte{10, 0, 0, 2}, Timeout: 200 * time.Millisecond}})
	if err := c.Commit(again); err != nil {
		t.Fatal(err)
	}
	seen := func() map[string]time.Duration {
		list, err := c.Elements(table, "s")
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]time.Duration{}
		for _, e := range list {
			m[fmt.Sprint(e.Key)] = e.Expires
		}
		return m
	}
	first := seen()
	if x := first["[10 0 0 1]"]; x < 59*time.Minute || x > time.Hour {
		t.Errorf("the first expires in %v", x)
	}
	if x := first["[10 0 0 2]"]; x <= 0 || x > 200*time.Millisecond {
		t.Errorf("the second expires in %v", x)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); len(seen()) > 1; {
		<-tick.C
		if time.Since(begin) > 5*time.Second {
			t.Fatal("it is still there after 5 s")
		}
	}
	if err := c.Commit(again); !errors.Is(err, unix.ENOENT) {
		t.Errorf("renewing what is over: %v, want ENOENT", err)
	}
}

func TestChainsThatMeetPacketsAreListedWithTheirPlaceAndWhatTheyDoByDefault(t *testing.T) {
	path := namespace(t)
	c := dial(t, path)
	table, h, b := nft.Table{Family: nft.Inet, Name: "one"}, nft.Rerouting(), &nft.Batch{}
	b.AddTable(table)
	b.AddChain(table, "send", &h)
	b.AddChain(table, "no-base", nil)
	if err := c.Commit(b); err != nil {
		t.Fatal(err)
	}
	got, err := c.Chains()
	if err != nil {
		t.Fatal(err)
	}
	want := []nft.ChainSeen{{Table: table, Name: "send", Hook: unix.NF_INET_LOCAL_OUT, Priority: -410}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
