package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/process"
)

// TestMain lets the test's own binary stand in for dapple.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	var err error
	switch os.Args[1] {
	case "keeper":
		err = process.KeeperMain(ctx, os.Args[2:])
	case "etcd-member":
		err = MemberMain(ctx, os.Args[2:])
	case "starter":
		err = starter(ctx, os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func options(dir string) (Options, error) {
	me, err := os.Executable()
	return Options{Keeper: []string{me, "keeper"}, Member: []string{me, "etcd-member"}, Dir: dir, Lifeline: true}, err
}

// starter starts a cluster, says so, and waits to be killed.
func starter(ctx context.Context, dir string) error {
	o, err := options(dir)
	if err != nil {
		return err
	}
	c, err := Start(ctx, o)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		s, err := n.(targets.Starter).State(ctx)
		if err != nil {
			return err
		}
		fmt.Println(s.Main.PID, s.Main.Start)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func start(t *testing.T, change func(*Options)) *Cluster {
	t.Helper()
	o, err := options(filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func alive(id targets.ProcID) bool {
	p, err := kernel.ReadProc(id.PID)
	return err == nil && p.ProcID == id && p.State != "Z"
}

// statuses asks each member; nil for one that does not answer.
func statuses(t *testing.T, c *Cluster) []*pb.StatusResponse {
	t.Helper()
	var at []place
	for i, h := range c.System.Nodes.Hosts {
		host, port, err := net.SplitHostPort(strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, place{name: name(i), ip: host, client: n})
	}
	conns, err := connect(at, c.Dial)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*pb.StatusResponse, len(conns))
	for i, conn := range conns {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if s, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}); err == nil {
			all[i] = s
		}
		cancel()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	return all
}

func TestAStartedClusterHasThreeMembersOneLeaderAndNothingIsLeftOfIt(t *testing.T) {
	c := start(t, nil)
	leaders := map[uint64]bool{}
	members := map[uint64]bool{}
	for i, s := range statuses(t, c) {
		if s == nil {
			t.Fatalf("%s does not answer", name(i))
		}
		leaders[s.Leader] = true
		members[s.Header.MemberId] = true
	}
	if len(leaders) != 1 || leaders[0] || len(members) != 3 {
		t.Errorf("leaders %v, members %v", leaders, members)
	}
	var ids []targets.ProcID
	for _, n := range c.Nodes {
		procs, err := n.(targets.Processes).Processes(t.Context())
		if err != nil || len(procs) != 1 || procs[0].Name != "etcd" || !procs[0].Main {
			t.Fatalf("processes of %s: %+v, %v", n.Name(), procs, err)
		}
		if args := strings.Join(procs[0].Args, " "); !strings.Contains(args, "--heartbeat-interval=100 --election-timeout=1000") || strings.Contains(args, "fsync") {
			t.Errorf("%s runs as %s", n.Name(), args)
		}
		ids = append(ids, procs[0].ProcID)
	}

	again, err := Open(t.Context(), c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if again.Extra["endpoints"] != c.Extra["endpoints"] || again.System.Clients.DSN != c.System.Clients.DSN {
		t.Errorf("opened %v, started %v", again.Extra, c.Extra)
	}
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if alive(id) {
			t.Errorf("%v outlived the cluster", id)
		}
	}
	if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	if _, err := Open(t.Context(), c.Dir()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("opening a cluster that is gone: %v", err)
	}
}

func TestAStarterThatIsKilledLeavesNoMember(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(me, "starter", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []targets.ProcID
	for lines := bufio.NewScanner(out); len(ids) < Members && lines.Scan(); {
		var id targets.ProcID
		if _, err := fmt.Sscan(lines.Text(), &id.PID, &id.Start); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: that is what was asked for
	if len(ids) != Members {
		t.Fatal("the starter died early")
	}
	for _, id := range ids {
		eventually(t, "the death of "+id.String(), func() bool { return !alive(id) })
	}
	eventually(t, "the end of the directory", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestALeaderToldToEndHandsOverFirst(t *testing.T) {
	// With an election timeout of five seconds, a new leader at once can only
	// be one to whom the old one handed over.
	c := start(t, func(o *Options) { o.ElectionMS, o.HeartbeatMS = 5000, 100 })
	leader := -1
	var term uint64
	for i, s := range statuses(t, c) {
		if s.Leader == s.Header.MemberId {
			leader, term = i, s.RaftTerm
		}
	}
	n := c.Nodes[leader].(*process.Node)
	s, err := n.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.Hold(t.Context(), s.Main)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := h.Exited(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, s := range statuses(t, c) {
		if i != leader && (s == nil || s.Leader == 0 || s.RaftTerm <= term) {
			t.Errorf("%s after the hand-over: %v", name(i), s)
		}
	}
	eventually(t, "the keeper's word on it", func() bool {
		s, err := n.State(t.Context())
		return err == nil && !s.Running && s.Detail == "exit status 0"
	})
}

func TestWhatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"should be at least as 5 times as": func(o *Options) { o.HeartbeatMS, o.ElectionMS = 100, 200 },
		"no command for the members":       func(o *Options) { o.Member = nil },
		"died (exit status 1)":             func(o *Options) { o.Member = []string{"false"} },
		"no such file or directory":        func(o *Options) { o.Member = []string{"/nonexistent/dapple"} },
	} {
		o, err := options(filepath.Join(t.TempDir(), "c"))
		if err != nil {
			t.Fatal(err)
		}
		change(&o)
		if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %q", err, what)
		}
		if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory: %v", what, err)
		}
	}
}

func TestAddressesThatAreTakenAreSeen(t *testing.T) {
	at, err := pickPlaces()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", at[2].clientAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := free(at); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("got %v, want %q", err, taken)
	}
}

func TestMembersRefuseArgumentsThatTheyDoNotUnderstand(t *testing.T) {
	good := []string{"--name=n1", "--data-dir=/x", "--listen-client-urls=http://127.0.0.1:1", "--listen-peer-urls=http://127.0.0.1:2", "--initial-cluster=n1=http://127.0.0.1:2"}
	if _, err := memberConfig(good); err != nil {
		t.Errorf("good arguments: %v", err)
	}
	for _, bad := range []string{"--unsafe-no-fsync", "stray", "--listen-client-urls=127.0.0.1:1", "--name="} {
		if _, err := memberConfig(append(append([]string{}, good...), bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestAMemberThatFindsItsAddressTakenMeansThatOthersAreTried(t *testing.T) {
	o, err := options(filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	o = o.withDefaults()
	at, err := pickPlaces()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", at[1].clientAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	kept, err := process.Start(t.Context(), process.Options{Keeper: o.Keeper, Dir: o.Dir, Members: o.members(o.Dir, at), Lifeline: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.come(t.Context(), kept, at)
	if !errors.Is(err, errTaken) {
		t.Errorf("got %v, want %v", err, errTaken)
	}
	if err := kept.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// BenchmarkStart is how long a cluster takes to be ready, and to be gone.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		o, err := options(filepath.Join(b.TempDir(), "c"))
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		c, err := Start(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ready-ms")
		began = time.Now()
		if err := c.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "gone-ms")
	}
}
