package etcd

import (
	"context"
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Identity is the cluster's id, which its members and initial token gave it (etcd
// manual, "Clustering Guide").
func (s *System) Identity(ctx context.Context, n targets.Node) (string, error) {
	x, err := s.open(ctx, probes.Where{Node: n})
	if err != nil {
		return "", because(ctx, err)
	}
	defer x.c.close()
	r, err := pb.NewMaintenanceClient(x.c.rpc).Status(x.as(ctx), &pb.StatusRequest{})
	if err != nil {
		return "", fmt.Errorf("reading the id of the cluster: %s", told(err))
	}
	return "etcd cluster id " + strconv.FormatUint(r.GetHeader().GetClusterId(), 16), nil
}
