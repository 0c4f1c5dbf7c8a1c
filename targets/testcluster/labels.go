package testcluster

import "github.com/dapple-drills/dapple/targets/docker"

// The labels of all that belongs to a cluster of containers. What carries
// LabelRun is removed with the run, whatever else it is.
const (
	LabelCluster  = "dapple.cluster"  // the cluster's name: patroni
	LabelAs       = "dapple.as"       // what it is called among those that stay
	LabelRun      = "dapple.run"      // which cluster of that name
	LabelPart     = "dapple.part"     // node, etcd, haproxy, reaper
	LabelNode     = docker.LabelNode  // pg1, etcd2
	LabelLifetime = "dapple.lifetime" // bound or stays
	LabelSubnet   = "dapple.subnet"   // on the network: its addresses
	LabelImage    = "dapple.image"    // on images that we built
)

// Values of LabelPart.
const (
	partNode    = "node"
	partEtcd    = "etcd"
	partHAProxy = "haproxy"
	partReaper  = "reaper"
)
