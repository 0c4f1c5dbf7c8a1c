package testcluster

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// The subnets of clusters lie here: private (RFC 1918), and away from the pools
// from which Docker takes the networks of others (172.17.0.0/16 and up,
// 192.168.0.0/16).
const (
	subnetFirst = "10.213.0.0"
	subnetBits  = 27 // 30 hosts
	subnetCount = 256 * 256 / 32
)

// freeSubnets returns subnets that neither a network of the engine nor an
// interface of this machine overlaps, beginning at a place that depends on run,
// so that clusters which start together do not try the same.
func freeSubnets(ctx context.Context, api *client.Client, run string) ([]netip.Prefix, error) {
	nets, err := api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing networks: %w", err)
	}
	var taken []netip.Prefix
	for _, n := range nets {
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				taken = append(taken, p)
			}
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of this machine: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	free := subnets(run, taken)
	if len(free) == 0 {
		return nil, fmt.Errorf("no free subnet in %s/16: remove networks that are not needed (docker network prune)", subnetFirst)
	}
	return free, nil
}

// subnets lists up to 20 candidates that overlap with none of taken.
func subnets(run string, taken []netip.Prefix) []netip.Prefix {
	h := fnv.New32a()
	h.Write([]byte(run)) // never fails
	first := int(h.Sum32() % subnetCount)
	base := netip.MustParseAddr(subnetFirst).As4()
	var free []netip.Prefix
next:
	for i := 0; i < subnetCount && len(free) < 20; i++ {
		offset := (first + i) % subnetCount * 32
		a := base
		a[2], a[3] = byte(offset>>8), byte(offset)
		p := netip.PrefixFrom(netip.AddrFrom4(a), subnetBits)
		for _, t := range taken {
			if t.Overlaps(p) && t.Bits() > 0 {
				continue next
			}
		}
		free = append(free, p)
	}
	return free
}

// host is the nth address of the subnet.
func host(p netip.Prefix, n int) netip.Addr {
	a := p.Addr().As4()
	a[3] += byte(n)
	return netip.AddrFrom4(a)
}

// overlaps says whether the engine refused a subnet because another has it.
func overlaps(err error) bool {
	return err != nil && strings.Contains(err.Error(), "overlap")
}
