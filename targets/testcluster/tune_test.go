package testcluster

import (
	"testing"
	"time"
)

func TestAParameterIsSetWithWhatTheSystemDemandsOfTheOthers(t *testing.T) {
	var o Options
	if err := Tune(&o, "etcd", "election-timeout", 300*time.Millisecond); err != nil || o.Etcd != (EtcdSettings{30 * time.Millisecond, 300 * time.Millisecond}) {
		t.Errorf("%+v, %v", o.Etcd, err)
	}
	if err := Tune(&o, "etcd", "election-timeout", 4*time.Second); err != nil || o.Etcd.Heartbeat != 100*time.Millisecond {
		t.Errorf("%+v, %v", o.Etcd, err)
	}
	for _, ttl := range []time.Duration{20 * time.Second, 31 * time.Second, 2 * time.Minute} {
		if err := Tune(&o, "patroni", "ttl", ttl); err != nil {
			t.Error(err)
		}
		if s, err := o.Patroni.complete(); err != nil || s.TTL != ttl {
			t.Errorf("Patroni would bend it: %+v, %v", s, err)
		}
	}
	for _, bad := range []struct {
		cluster, parameter string
		d                  time.Duration
	}{{"etcd", "ttl", time.Minute}, {"etcd", "election-timeout", time.Millisecond}, {"patroni", "ttl", 5 * time.Second}, {"nowhere", "ttl", time.Minute}, {"redis-sentinel", "down-after", time.Second}} {
		if err := Tune(&o, bad.cluster, bad.parameter, bad.d); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
