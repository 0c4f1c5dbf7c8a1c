package testcluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/scenarios"
)

func TestTheRedisClustersDeclareWhatTheirSettingsPromise(t *testing.T) {
	for _, k := range redisKinds() {
		o := k.Objectives
		want := scenarios.RPOAge(5 * time.Second)
		if strings.HasSuffix(k.Name, "wait") {
			want = scenarios.RPOWrites(0)
		}
		if d := cmp.Diff(want, o.RPO); d != "" {
			t.Errorf("%s (-want +got):\n%s", k.Name, d)
		}
		if k.Kind != "redis-sentinel" || *o.RTO != scenarios.Duration(30*time.Second) || !bool(*o.SplitBrain) {
			t.Errorf("%s: %+v", k.Name, o)
		}
	}
	// The guard counts whole seconds once a second, so it acts within two seconds
	// more; a Sentinel measures a primary that hangs from its next ping at the
	// earliest.
	if redisMaxLag+2*time.Second >= redisDownAfter {
		t.Error("an old primary may still take writes when there is a new one")
	}
}

func TestTheNodesOfARedisClusterAreConfiguredAsPromised(t *testing.T) {
	for _, c := range []struct {
		name      string
		v         redis
		node      int
		has, lack []string
	}{
		{"the first", redis{}, 1, []string{"min-replicas-to-write 1\nmin-replicas-max-lag 2\n", "sentinel monitor main 10.213.1.11 6379 2", "down-after-milliseconds main 5000", "failover-timeout main 10000"}, []string{"replicaof"}},
		{"another", redis{}, 2, []string{"replicaof 10.213.1.11 6379", "replica-announce-ip 10.213.1.12", "sentinel announce-ip 10.213.1.12", "sentinel monitor main 10.213.1.11 6379 2"}, nil},
		{"no guard", redis{unguarded: true}, 1, []string{"min-replicas-to-write 0"}, []string{"max-lag"}},
		{"a down-after of 10 minutes", redis{downAfter: 10 * time.Minute}, 3, []string{"down-after-milliseconds main 600000", "min-replicas-to-write 1"}, nil},
	} {
		s := &redisStart{redis: c.v, run: madeRun()}
		p, err := s.node(c.node)
		if err != nil {
			t.Fatal(err)
		}
		text := p.files["/etc/dapple/redis.conf"] + p.files["/etc/dapple/sentinel.conf"]
		if strings.Count(text, s.secrets.app) != 3 {
			t.Errorf("%s: the password is not where it is needed:\n%s", c.name, text)
		}
		for _, want := range c.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", c.name, want, text)
			}
		}
		for _, not := range c.lack {
			if strings.Contains(text, not) {
				t.Errorf("%s has %q:\n%s", c.name, not, text)
			}
		}
	}
}

func TestTheSystemFileOfARedisClusterNamesItsSentinels(t *testing.T) {
	r := madeRun()
	sys, err := redis{waits: true, patience: 100 * time.Millisecond}.system(redisKinds()[0].Info, r.place, r.o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"redis_port": "6379", "wait": "1", "wait_timeout": "100ms"}, sys.Settings.Map()); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
	if want := "redis-sentinel://10.213.1.11:26379,10.213.1.12:26379,10.213.1.13:26379/0#main"; sys.Clients.DSN != want {
		t.Errorf("%s, want %s", sys.Clients.DSN, want)
	}
	if sys.Clients.Password.File != "/state/clusters/r1/app.password" {
		t.Errorf("the password file is %q", sys.Clients.Password.File)
	}
}

func TestARedisNodeIsReadyWhenItAndItsSentinelKnowAllOthers(t *testing.T) {
	primary := map[string]string{"role": "master", "connected_slaves": "2", "min_slaves_good_slaves": "2", "flags": "master", "num-slaves": "2", "num-other-sentinels": "2"}
	replica := map[string]string{"role": "slave", "master_link_status": "up", "flags": "master", "num-slaves": "2", "num-other-sentinels": "2"}
	for _, f := range []map[string]string{primary, replica} {
		if got := redisLacks(f); got != "" {
			t.Errorf("%v lacks %s", f, got)
		}
		for name, value := range f {
			if name == "role" {
				continue
			}
			f[name] = "1"
			if redisLacks(f) == "" {
				t.Errorf("ready although %s is 1, and not %s", name, value)
			}
			f[name] = value
		}
	}
}
