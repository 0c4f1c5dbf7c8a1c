package testcluster

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A patroni is one variant of the cluster: what in it is not as in the others.
// The zero value is asynchronous and otherwise sound.
type patroni struct {
	sync  bool          // synchronous_mode
	delay time.Duration // of what reaches the standbys
	// declared is what Patroni's configuration says, also what Patroni bends; zero
	// is what Options ask for.
	declared PatroniSettings
	// colocated: each node holds a member of etcd too, and that of the first
	// primary is etcd's leader.
	colocated bool
	// outside: something that knows nothing of Patroni starts PostgreSQL with its
	// node, and again whenever it ends.
	outside bool
	// cancel: what a client writes is cancelled on the server when it takes longer.
	cancel time.Duration
	// portCheck: HAProxy asks only whether PostgreSQL's port is open, and prefers
	// the first node, which is the first primary: as where nobody can be asked who
	// is.
	portCheck bool
	// disk is how large the volume is on which a node has its data and its WAL, in
	// memory, so that it can be filled up; 0 is the engine's own disk, which cannot.
	disk int64
	// guard: a node whose disk is full hands the primary role on.
	guard bool
	// failsafe: a primary that etcd does not answer goes on while all members agree
	// (failsafe_mode).
	failsafe bool
	// noRewind: nothing makes a standby of an old primary whose history forked: neither
	// pg_rewind nor a new copy.
	noRewind bool
}

// smallDisk has room for a new cluster (40 MB) and the WAL that is kept for
// standbys (wal_keep_size, 256 MB), and is full in no time.
const smallDisk = 512 << 20

// patroniKinds is the table of the variants. patroni is sound, and so are
// patroni-diskguard and patroni-failsafe. Each other one is known to be bad in one way, by which a drill
// proves that it would find that.
func patroniKinds() []kind {
	var kinds []kind
	for _, x := range []struct {
		name, summary string
		patroni
	}{
		{"patroni", "synchronous replication", patroni{sync: true}},
		{"patroni-async", "asynchronous replication", patroni{}},
		{"patroni-async-lag", "asynchronous replication that arrives 2 s late", patroni{delay: relayDelay}},
		{"patroni-colocated", "as patroni, with etcd on the same nodes and its leader beside the primary", patroni{sync: true, colocated: true}},
		{"patroni-diskguard", "as patroni, on a small disk of its own; a node whose disk is full hands the role on", patroni{sync: true, disk: smallDisk, guard: true}},
		{"patroni-failsafe", "as patroni-colocated, with failsafe_mode", patroni{sync: true, colocated: true, failsafe: true}},
		{"patroni-liar", "as patroni, with a HAProxy that asks only whether the port is open", patroni{sync: true, portCheck: true}},
		{"patroni-norewind", "as patroni-async-lag, without pg_rewind and new copies", patroni{delay: relayDelay, noRewind: true}},
		{"patroni-rogue", "asynchronous replication; PostgreSQL is started with its node by something outside Patroni", patroni{outside: true}},
		{"patroni-shorttimeouts", "as patroni, with writes cancelled on the server after 1 s", patroni{sync: true, cancel: time.Second}},
		{"patroni-smalldisk", "as patroni, on a small disk of its own", patroni{sync: true, disk: smallDisk}},
		{"patroni-ttl20", "as patroni, with the shortest ttl that Patroni takes", patroni{sync: true, declared: PatroniSettings{TTL: 20 * time.Second, LoopWait: 6 * time.Second, RetryTimeout: 7 * time.Second}}},
		{"patroni-ttl5", "as patroni, with a declared ttl of 5 s, which Patroni raises", patroni{sync: true, declared: ttl(5 * time.Second)}},
		{"patroni-ttl600", "as patroni, with a ttl of 10 minutes", patroni{sync: true, declared: ttl(10 * time.Minute)}},
	} {
		lease := x.declared.TTL
		if lease == 0 {
			lease = defaultTTL
		}
		kinds = append(kinds, kind{
			Info: Info{
				Name: x.name, Kind: "patroni", Objectives: leaseObjectives(),
				Summary: fmt.Sprintf("3 x (Patroni 4 + PostgreSQL 17), 3 x etcd, HAProxy, ttl %d s; %s", lease/time.Second, x.summary),
			},
			start: x.start, find: x.find, down: downContainers,
		})
	}
	return kinds
}

// ttl is a configuration in which nothing but the lease was changed.
func ttl(d time.Duration) PatroniSettings {
	return PatroniSettings{TTL: d, LoopWait: defaultLoopWait, RetryTimeout: defaultRetryTimeout}
}

// settingsFor are those of the variant, or else the ones that are asked for.
func (v patroni) settingsFor(asked PatroniSettings) (PatroniSettings, error) {
	switch {
	case v.declared == PatroniSettings{}:
		return asked.complete()
	case asked != PatroniSettings{}:
		return asked, fmt.Errorf("this cluster has its own ttl (%v): no other settings can be asked for", v.declared.TTL)
	}
	return v.declared, nil
}

// etcdBase is the last part of the address before that of etcd's first member.
func (v patroni) etcdBase() int {
	if v.colocated {
		return nodeHost
	}
	return etcdHost
}

// etcdHosts are the addresses of the clients' port of etcd.
func (v patroni) etcdHosts(subnet netip.Prefix) []string {
	var hosts []string
	for i := 1; i <= members; i++ {
		hosts = append(hosts, fmt.Sprintf("%s:%d", host(subnet, v.etcdBase()+i), etcdPort))
	}
	return hosts
}

func (s *patroniStart) etcdAddr(i int) netip.Addr { return host(s.subnet, s.etcdBase()+i) }

// env tells run-node what a node does besides Patroni.
func (s *patroniStart) env(i int) map[string]string {
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
	env := map[string]string{}
	if s.delay > 0 {
		env["DAPPLE_RELAY_DELAY"] = seconds(s.delay)
	}
	if s.colocated {
		env["DAPPLE_ETCD"] = strings.Join(s.etcdArgs(i), " ")
	}
	if s.guard {
		env["DAPPLE_DISK_GUARD"] = "yes"
	}
	if s.outside {
		env["DAPPLE_OUTSIDE"] = "yes"
	}
	if s.cancel > 0 {
		env["DAPPLE_CANCEL_AFTER"] = seconds(s.cancel)
	}
	return env
}

// tmpfs are the volumes of a node that are in memory, with their options
// (tmpfs(5)). PostgreSQL's own directory in it has the mode that it asks for.
func (s *patroniStart) tmpfs() map[string]string {
	if s.disk == 0 {
		return nil
	}
	return map[string]string{"/var/lib/dapple": fmt.Sprintf("size=%d,mode=1777", s.disk)}
}
