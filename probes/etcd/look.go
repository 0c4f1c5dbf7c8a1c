package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A Sight is what one endpoint says of the cluster that it is of.
type Sight struct {
	Cluster, Member string   // their ids
	Names, URLs     []string // of the members, and the first client URL of each; empty without a quorum
}

// Look asks an address (host:port, without TLS), as etcd's own clients do, whether it
// is etcd and who else is. An error says why it is not known to be. It ends with ctx.
func Look(ctx context.Context, address string) (s Sight, err error) {
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return s, fmt.Errorf("ask %s: %w", address, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	status, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return s, fmt.Errorf("ask %s whether it is etcd: %w", address, err)
	}
	s.Cluster, s.Member = strconv.FormatUint(status.GetHeader().GetClusterId(), 10), strconv.FormatUint(status.GetHeader().GetMemberId(), 10)
	list, err := pb.NewClusterClient(c).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		return s, nil // it is etcd, without a quorum
	}
	for _, m := range list.GetMembers() {
		if urls := m.GetClientURLs(); len(urls) > 0 {
			s.Names, s.URLs = append(s.Names, m.GetName()), append(s.URLs, urls[0])
		}
	}
	return s, nil
}
