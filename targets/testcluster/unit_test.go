package testcluster

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/scenarios"
)

func TestTheBuiltInClustersAreListedSortedWithTheirObjectives(t *testing.T) {
	var names []string
	for _, i := range Names() {
		names = append(names, i.Name)
		// PostgreSQL alone shows nobody that its primary is lost.
		undetected := i.Kind == "postgres" && i.Objectives.Detection == nil
		if i.Summary == "" || i.Objectives.RTO == nil || i.Objectives.RPO == nil ||
			i.Objectives.Detection == nil && !undetected || i.Objectives.SplitBrain == nil || !bool(*i.Objectives.SplitBrain) {
			t.Errorf("%s declares too little: %+v", i.Name, i)
		}
	}
	for _, want := range []string{"etcd", "patroni", "patroni-async", "patroni-async-lag", "postgres", "redis-sentinel", "redis-sentinel-noguard"} {
		if !slices.Contains(names, want) {
			t.Errorf("%v lacks %s", names, want)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("%v is not sorted", names)
	}
}

func TestThePatroniClustersDeclareWhatTheContractSays(t *testing.T) {
	for _, k := range patroniKinds() {
		if *k.Objectives.Detection != scenarios.Duration(35*time.Second) || *k.Objectives.RTO != scenarios.Duration(time.Minute) || *k.Objectives.RPO.Writes != 0 {
			t.Errorf("%s: %+v", k.Name, k.Objectives)
		}
	}
}

func TestAnUnknownClusterIsAnErrorThatListsTheKnown(t *testing.T) {
	_, err := Start(t.Context(), "patrony", Options{Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), `"patrony"`) || !strings.Contains(err.Error(), "patroni-async-lag") {
		t.Errorf("got %v", err)
	}
	if _, err := Start(t.Context(), "patroni", Options{Dir: t.TempDir(), Lifetime: "for ever"}); err == nil || !strings.Contains(err.Error(), "for ever") {
		t.Errorf("got %v, want the lifetime refused", err)
	}
}

func TestPatroniSettingsThatPatroniWouldBendAreRefused(t *testing.T) {
	def, err := PatroniSettings{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(PatroniSettings{30 * time.Second, 10 * time.Second, 10 * time.Second}, def); d != "" {
		t.Error(d)
	}
	for want, s := range map[string]PatroniSettings{
		"below loop_wait":  {TTL: 20 * time.Second},
		"whole seconds":    {LoopWait: 1500 * time.Millisecond},
		"at least 1s":      {RetryTimeout: -time.Second},
		"2 * retry_timeou": {TTL: 30 * time.Second, RetryTimeout: 11 * time.Second},
	} {
		if _, err := s.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error with %q", s, err, want)
		}
	}
}

func TestASubnetIsFreeAndItsAddressesLieInIt(t *testing.T) {
	first := subnets("run", nil)[0]
	taken := []netip.Prefix{first, netip.MustParsePrefix("10.213.0.0/17"), netip.MustParsePrefix("0.0.0.0/0")}
	for _, p := range subnets("run", taken) {
		for _, other := range taken[:2] {
			if p.Overlaps(other) {
				t.Errorf("%s overlaps %s", p, other)
			}
		}
		for _, n := range []int{1, haproxyHost, nodeHost + members, etcdHost + members} {
			if !p.Contains(host(p, n)) {
				t.Errorf("host %d of %s is %s", n, p, host(p, n))
			}
		}
	}
	if got := subnets("run", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); len(got) != 0 {
		t.Errorf("got %v from a range that is taken", got)
	}
}

// madeRun is a run as it would be begun, without an engine.
func madeRun() *run {
	return &run{
		secrets: newSecrets(), o: Options{Dir: "/state"},
		place: &place{id: "r1", labels: map[string]string{LabelCluster: "patroni"}, subnet: netip.MustParsePrefix("10.213.1.0/27")},
	}
}

// made is a patroniStart as it would be started, without an engine.
func made(v patroni) *patroniStart {
	s, err := v.settingsFor(PatroniSettings{})
	if err != nil {
		panic(err)
	}
	return &patroniStart{patroni: v, settings: s, run: madeRun()}
}

func TestThePartsAreConfiguredAsPromised(t *testing.T) {
	for _, c := range []struct {
		name        string
		v           patroni
		node, notIn []string
		delay       string
	}{
		{"synchronous", patroni{sync: true}, []string{"synchronous_mode: true", "connect_address: 10.213.1.11:5432", "ttl: 30", "loop_wait: 10", "retry_timeout: 10", "use_pg_rewind: true"}, []string{"5433"}, ""},
		{"asynchronous", patroni{}, []string{"synchronous_mode: false", "connect_address: 10.213.1.11:5432"}, []string{"5433"}, ""},
		{"asynchronous, late", patroni{delay: relayDelay}, []string{"synchronous_mode: false", "connect_address: 10.213.1.11:5433"}, nil, "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts, err := made(c.v).parts()
			if err != nil {
				t.Fatal(err)
			}
			byName := map[string]part{}
			for _, p := range parts {
				byName[p.name] = p
			}
			if len(byName) != 7 {
				t.Errorf("got %d parts, want 3 nodes, 3 etcd and HAProxy", len(byName))
			}
			config := byName["pg1"].files["/etc/dapple/patroni.yml"]
			for _, want := range c.node {
				if !strings.Contains(config, want) {
					t.Errorf("pg1's configuration lacks %q", want)
				}
			}
			for _, not := range c.notIn {
				if strings.Contains(config, not) {
					t.Errorf("pg1's configuration has %q", not)
				}
			}
			if got := byName["pg1"].env["DAPPLE_RELAY_DELAY"]; got != c.delay {
				t.Errorf("relay delay %q, want %q", got, c.delay)
			}
			proxy := byName["haproxy"].files["/etc/dapple/haproxy.cfg"]
			for _, want := range []string{
				"inter 1s fall 2 rise 2 on-marked-down shutdown-sessions", "uri /primary",
				"server pg3 10.213.1.13:5432 maxconn 200 check port 8008", // never through the relay
			} {
				if !strings.Contains(proxy, want) {
					t.Errorf("HAProxy's configuration lacks %q", want)
				}
			}
		})
	}
}

func TestEachBadVariantIsBadInItsOneWay(t *testing.T) {
	variants := map[string]kind{}
	for _, k := range patroniKinds() {
		variants[k.Name] = k
	}
	for name, want := range map[string]string{
		"patroni-colocated":     "etcd on the same nodes",
		"patroni-diskguard":     "hands the role on",
		"patroni-liar":          "whether the port is open",
		"patroni-smalldisk":     "small disk",
		"patroni-rogue":         "outside Patroni",
		"patroni-shorttimeouts": "cancelled on the server",
		"patroni-ttl20":         "ttl 20 s",
		"patroni-ttl5":          "ttl 5 s",
		"patroni-ttl600":        "ttl 600 s",
	} {
		if !strings.Contains(variants[name].Summary, want) {
			t.Errorf("%s says %q, want %q in it", name, variants[name].Summary, want)
		}
	}
	for _, c := range []struct {
		name      string
		v         patroni
		part      string
		has, lack []string
	}{
		{"guard", patroni{guard: true}, "pg2", []string{"DAPPLE_DISK_GUARD=yes"}, nil},
		{"disk", patroni{disk: 4096}, "pg2", []string{"/var/lib/dapple size=4096"}, []string{"DAPPLE_DISK_GUARD"}},
		{"outside", patroni{outside: true}, "pg2", []string{"DAPPLE_OUTSIDE=yes"}, []string{"DAPPLE_ETCD", "DAPPLE_CANCEL_AFTER"}},
		{"cancel", patroni{cancel: 1500 * time.Millisecond}, "pg2", []string{"DAPPLE_CANCEL_AFTER=1.5"}, []string{"DAPPLE_OUTSIDE"}},
		{"colocated", patroni{colocated: true}, "pg2", []string{"DAPPLE_ETCD=--name etcd2 ", "http://10.213.1.12:2380", "hosts: [10.213.1.11:2379, 10.213.1.12:2379, 10.213.1.13:2379]"}, nil},
		{"failsafe", patroni{failsafe: true}, "pg1", []string{"failsafe_mode: true\n", "use_pg_rewind: true\n"}, nil},
		{"no rewind", patroni{noRewind: true}, "pg1", []string{"failsafe_mode: false\n", "use_pg_rewind: false\n"}, nil},
		{"ttl 5", patroni{declared: ttl(5 * time.Second)}, "pg1", []string{"ttl: 5\n", "loop_wait: 10\n", "retry_timeout: 10\n"}, nil},
		{"port", patroni{portCheck: true}, "haproxy", []string{"server pg1 10.213.1.11:5432 maxconn 200 check\n", "server pg2 10.213.1.12:5432 maxconn 200 check backup\n"}, []string{"uri /primary"}},
	} {
		t.Run(c.name, func(t *testing.T) { partHas(t, c.v, c.part, c.has, c.lack) })
	}
}

func partHas(t *testing.T, v patroni, name string, has, lack []string) {
	parts, err := made(v).parts()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	if i < 0 {
		t.Fatalf("there is no part %s", name)
	}
	var text strings.Builder
	for k, x := range parts[i].env {
		text.WriteString(k + "=" + x + "\n")
	}
	for path, options := range parts[i].tmpfs {
		text.WriteString(path + " " + options + "\n")
	}
	for _, x := range parts[i].files {
		text.WriteString(x)
	}
	for _, want := range has {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s lacks %q:\n%s", name, want, text.String())
		}
	}
	for _, not := range lack {
		if strings.Contains(text.String(), not) {
			t.Errorf("%s has %q", name, not)
		}
	}
}

func TestAVariantWithItsOwnLeaseTakesNoOther(t *testing.T) {
	v := patroni{declared: ttl(5 * time.Second)}
	if s, err := v.settingsFor(PatroniSettings{}); err != nil || s.TTL != 5*time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := v.settingsFor(PatroniSettings{TTL: time.Minute}); err == nil {
		t.Error("another ttl is taken")
	}
}

func TestTheSystemFileTellsWhereThePasswordIsAndNotWhatItIs(t *testing.T) {
	s := made(patroni{sync: true})
	sys, err := s.system(patroniKinds()[0].Info, s.place, s.o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/state/clusters/r1/app.password"; sys.Clients.Password.File != want {
		t.Errorf("password file %q, want %q", sys.Clients.Password.File, want)
	}
	if d := cmp.Diff("postgres://app@10.213.1.5:5000/app?sslmode=disable", sys.Clients.DSN); d != "" {
		t.Error(d)
	}
	var settings struct {
		Scope        string   `yaml:"scope"`
		Etcd         []string `yaml:"etcd"`
		RESTPort     int      `yaml:"rest_port"`
		PostgresPort int      `yaml:"postgres_port"`
		HAProxy      string   `yaml:"haproxy"`
	}
	if err := sys.Settings.Decode(&settings); err != nil {
		t.Fatal(err)
	}
	if settings.HAProxy == "" || settings.Scope != "main" || settings.RESTPort != 8008 || settings.PostgresPort != 5432 {
		t.Errorf("settings %+v", settings)
	}
	if d := cmp.Diff([]string{"http://10.213.1.21:2379", "http://10.213.1.22:2379", "http://10.213.1.23:2379"}, settings.Etcd); d != "" {
		t.Error(d)
	}
}

func TestTheImageIsCalledByWhatItIsBuiltFrom(t *testing.T) {
	files := fstest.MapFS{"image/Dockerfile": {Data: []byte("FROM x")}, "image/run": {Data: []byte("#!/bin/sh")}}
	_, one, err := buildContext(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, again, _ := buildContext(files); again != one {
		t.Errorf("the same files give %s and %s", one, again)
	}
	files["image/run"] = &fstest.MapFile{Data: []byte("#!/bin/sh\n")}
	if _, other, _ := buildContext(files); other == one {
		t.Error("other files give the same tag")
	}
}

func TestABuildThatFailedSaysWhatItWroteLast(t *testing.T) {
	err := readBuild(strings.NewReader(`{"stream":"Step 2/4 : RUN apt-get\n"}{"stream":"E: no such package\n"}{"errorDetail":{"code":100},"error":"returned a non-zero code: 100"}`))
	if err == nil || !strings.Contains(err.Error(), "non-zero code: 100") || !strings.Contains(err.Error(), "E: no such package") {
		t.Errorf("got %v", err)
	}
	if err := readBuild(strings.NewReader(`{"stream":"Successfully built"}{"aux":{"ID":"x"}}`)); err != nil {
		t.Errorf("got %v for a build that went well", err)
	}
	if err := readBuild(strings.NewReader(`{"stream":`)); err == nil {
		t.Error("half an answer is taken for success")
	}
}

func FuzzReadBuildNeverPanics(f *testing.F) {
	f.Add([]byte(`{"stream":"x"}{"error":"y"}`))
	f.Add([]byte(`{"stream":1}`))
	f.Add([]byte("[]\x00{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = readBuild(strings.NewReader(string(data)))
	})
}

func TestAnOrphanIsABoundRunWithThingsAndNoReaperAtWork(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		s    runStatus
		want bool
	}{
		{"its reaper watches", runStatus{Status: Status{Lifetime: Bound}, reaper: "running", things: 8}, false},
		{"its reaper is gone", runStatus{Status: Status{Lifetime: Bound}, things: 8, created: now}, true},
		{"its reaper died", runStatus{Status: Status{Lifetime: Bound}, reaper: "exited", things: 8}, true},
		{"its reaper is just being started", runStatus{Status: Status{Lifetime: Bound}, reaper: "created", created: now}, false},
		{"its reaper was never started", runStatus{Status: Status{Lifetime: Bound}, reaper: "created", created: now.Add(-time.Hour)}, true},
		{"it is to stay", runStatus{Status: Status{Lifetime: Stays}, things: 8}, false},
	} {
		if got := c.s.orphan(now); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPasswordsOfClustersThatAreGoneAreRemovedAndOthersKept(t *testing.T) {
	dir := t.TempDir()
	for _, run := range []string{"up", "gone", "new"} {
		if err := writeSecret(dir, run, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(dir, "clusters", "etcd", "data")
	if err := os.MkdirAll(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, run := range []string{"up", "gone"} {
		if err := os.Chtimes(secretFile(dir, run), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweepSecrets(dir, map[string]bool{"up": true}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{secretFile(dir, "up"): true, secretFile(dir, "gone"): false, secretFile(dir, "new"): true, foreign: true} {
		_, err := os.Stat(path)
		if there := !errors.Is(err, fs.ErrNotExist); there != want {
			t.Errorf("%s: there is %v, want %v", path, there, want)
		}
	}
	info, err := os.Stat(secretFile(dir, "up"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want it readable by its owner alone", info, err)
	}
}
