package tc

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/testenv"
)

// bucketLab is a lab where the kernel has token buckets, which most have.
func bucketLab(t *testing.T, n int) []place {
	t.Helper()
	testenv.NeedRoot(t)
	if err := TryBucket(); err != nil {
		t.Fatal(err) // every kernel on which the tests run has them
	}
	return places(t, n)
}

// shown is what the tools of iproute2 say in the namespace.
func shown(t *testing.T, at place, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command("nsenter", append([]string{"--net=" + at.path, tool}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", tool, args, err, out)
	}
	return string(out)
}

func TestBucketsAreAsSlowAsTheirRateBothWays(t *testing.T) {
	nodes := bucketLab(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	v := volley{count: 60, size: 1000}
	before := figuresOf(v.send(t, a, a.v4, b, b.v4), v.count)
	s := to(Impairment{Rate: 1_000_000}, b.v4, b.v6)
	s.Bucket, s.In = true, true
	raised(t, a, s)
	// 60 of 1000 bytes and the headers' 42 take 8.3 ms each, but for a bucket full.
	const least = 470 * time.Millisecond
	for name, f := range map[string]figures{
		"out":       figuresOf(v.send(t, a, a.v4, b, b.v4), v.count),
		"out, IPv6": figuresOf(v.send(t, a, a.v6, b, b.v6), v.count),
		"in":        figuresOf(v.send(t, b, b.v4, a, a.v4), v.count),
	} {
		if f.max < least || f.lost > 0 || f.overtaken > 0 {
			t.Errorf("%s: %v; before: %v", name, f, before)
		}
	}
	if f := figuresOf(v.send(t, a, a.v4, c, c.v4), v.count); f.max > least {
		t.Errorf("to who is not meant: %v", f)
	}
	seen, err := Look(a.path, s)
	if err != nil || len(seen.Missing) > 0 || seen.MetOut < 2*60 || seen.MetIn < 60 || seen.Burst < 1500 {
		t.Errorf("%+v, %v", seen, err)
	}
	// The kernel's own tool says so too.
	if said := shown(t, a, "tc", "-s", "qdisc", "show", "dev", s.link(out)); !strings.Contains(said, "qdisc tbf") || !strings.Contains(said, "rate 1Mbit") {
		t.Error(said)
	}
}

// A stream is cut to the size of the wire before it is met, so that none of it is
// longer than the bucket.
func TestBucketsSlowAStreamDown(t *testing.T) {
	nodes := bucketLab(t, 2)
	a, b := nodes[0], nodes[1]
	const size = 1 << 20
	before := stream(t, a, b, size)
	s := to(Impairment{Rate: 20_000_000}, b.v4)
	s.Bucket = true
	raised(t, a, s)
	took := stream(t, a, b, size)
	t.Logf("%d bytes: %v, before %v: %.0f times as long", size, took, before, float64(took)/float64(before))
	if least := 400 * time.Millisecond; took < least || took < 3*before { // 8·2^20 bits at 20 Mbit/s
		t.Errorf("%d bytes took %v, want %v or more; before %v", size, took, least, before)
	}
}

// stream sends bytes over TCP and returns how long it took until all had arrived.
func stream(t *testing.T, from, at place, size int) time.Duration {
	t.Helper()
	var l net.Listener
	inside(t, at, func() (err error) { l, err = net.Listen("tcp4", net.JoinHostPort(at.v4.String(), "0")); return err })
	defer l.Close()
	c, err := kernel.DialNetNS(t.Context(), from.path, "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	begin, wrote := time.Now(), make(chan error, 1)
	go func() { _, err := c.Write(make([]byte, size)); wrote <- err }()
	for got, buf := 0, make([]byte, 1<<16); got < size; {
		n, err := far.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// What an operator has there stays, byte for byte: a queue of his own at the root with
// classes, and the lengths of the queues.
func TestBucketsLeaveAnOperatorsQueueAndNothingElseBehind(t *testing.T) {
	a := bucketLab(t, 2)[0]
	shown(t, a, "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "7:", "htb", "default", "1")
	shown(t, a, "tc", "class", "add", "dev", "eth0", "parent", "7:", "classid", "7:1", "htb", "rate", "1gbit")
	all := func() string {
		return shown(t, a, "tc", "qdisc", "show") + shown(t, a, "tc", "class", "show", "dev", "eth0") + shown(t, a, "ip", "link")
	}
	before := all()
	s := to(Impairment{Rate: 1_000_000}, a.v4)
	s.Bucket = true
	h, err := Raise(a.path, s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if during := all(); !strings.Contains(during, "tbf") || !strings.Contains(during, "htb 7: dev eth0 root") {
		t.Error(during)
	}
	if err := errors.Join(h.Close(), Remove(a.path, s)); err != nil {
		t.Fatal(err)
	}
	if after := all(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestBucketsEndWithTheirLease(t *testing.T) {
	nodes := bucketLab(t, 2)
	a, b := nodes[0], nodes[1]
	s := to(Impairment{Rate: 8000}, b.v4) // 1000 bytes a second
	s.Bucket = true
	h, err := Raise(a.path, s, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), Remove(a.path, s)); err != nil {
			t.Error(err)
		}
	})
	until(t, "the lease is over", func() bool {
		seen, err := Look(a.path, s)
		return err == nil && seen.Lease == 0
	})
	v := volley{count: 20, size: 1000}
	if f := figuresOf(v.send(t, a, a.v4, b, b.v4), v.count); f.lost > 0 || f.max > 10*time.Second {
		t.Errorf("after the lease: %v", f)
	}
	if err := h.Renew(time.Second); err == nil {
		t.Error("it is not said that it had ended")
	}
}

func TestABucketThatIsNotAsItWasMadeIsSeen(t *testing.T) {
	devices := []net.Interface{{MTU: 1500}}
	of := func(i Impairment, mtu int) []byte {
		other := i
		b, err := other.bucket([]net.Interface{{MTU: mtu}})
		if err != nil {
			t.Fatal(err)
		}
		// As the kernel tells it: the bucket in ticks, not in bytes.
		ticks := float64(i.burst([]net.Interface{{MTU: mtu}})) / float64(i.Rate/8) * float64(time.Second) / tick
		e := &encoder{}
		e.put(uint32(ticks))
		copy(b[4+28:], e.Bytes())
		return b
	}
	is := Impairment{Rate: 1_000_000}
	if list, err := is.bucketDiffers(of(is, 1500), devices); err != nil || len(list) > 0 {
		t.Errorf("from itself it differs in %v, %v", list, err)
	}
	for says, got := range map[string][]byte{
		"rate":   of(Impairment{Rate: 2_000_000}, 1500),
		"limit":  of(Impairment{Rate: 1_000_000, Limit: 7}, 1500),
		"bucket": of(is, 9000),
		"tbf's":  nil,
	} {
		if list, err := is.bucketDiffers(got, devices); err != nil || !strings.Contains(strings.Join(list, " "), says) {
			t.Errorf("%s: seen %v, %v", says, list, err)
		}
	}
}

func TestABucketIsAskedForNothingThatItCannotDo(t *testing.T) {
	for _, i := range []Impairment{{}, {Rate: 1000, Delay: 1}, {Rate: 1000, Loss: 1}, {Rate: 7}, {Rate: 1000, KeepOrder: true}} {
		s := Spec{Name: "dapple-x", Out: true, Clients: true, Bucket: true, Impairment: i}
		if err := s.check(); err == nil || !strings.Contains(fmt.Sprint(err), "bucket") {
			t.Errorf("%+v: %v", i, err)
		}
	}
}
