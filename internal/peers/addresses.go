package peers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// Network reads an address or a network of other machines.
func Network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		if a.Zone() != "" || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
			return netip.Prefix{}, fmt.Errorf("%q is no address of another machine", text)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/24 or fd00::/64", text)
	}
	switch masked := p.Masked(); {
	case p.Bits() == 0:
		return p, fmt.Errorf("%q is everything: say clients: yes", text)
	case masked != p:
		return p, fmt.Errorf("%q has bits set behind its length: write %s", text, masked)
	}
	return p, nil
}

// Short is the prefix, or the address if it is one.
func Short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Join lists addresses for people: those that everybody has on every link are
// left out.
func Join(addrs []netip.Addr) string {
	var s []string
	for _, a := range addrs {
		if !a.IsLinkLocalUnicast() {
			s = append(s, a.String())
		}
	}
	return strings.Join(s, ", ")
}

// Addresses are all that the node's packets may come from: those that it says it
// has, and those seen on its links.
func Addresses(ctx context.Context, n targets.Node, seen []netip.Addr) ([]netip.Addr, error) {
	all := slices.Clone(seen)
	if a, ok := n.(targets.Addresser); ok {
		texts, err := a.Addresses(ctx)
		if err != nil && len(all) == 0 {
			return nil, fmt.Errorf("its addresses: %w", err)
		}
		for _, text := range texts {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("its address %q is none", text)
			}
			if addr = addr.Unmap().WithZone(""); !addr.IsLoopback() && !slices.Contains(all, addr) {
				all = append(all, addr)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("it has no address that others could see (only loopback): %w", targets.ErrUnsupported)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}

// Meeting are the addresses of mine, one for each version of IP that both have,
// at which somebody with the addresses of theirs may reach me.
func Meeting(mine, theirs []netip.Addr) (list []netip.Addr) {
	for _, v4 := range []bool{true, false} {
		usable := func(a netip.Addr) bool { return a.Is4() == v4 && !a.IsLinkLocalUnicast() }
		i := slices.IndexFunc(mine, usable)
		if i >= 0 && slices.ContainsFunc(theirs, usable) {
			list = append(list, mine[i])
		}
	}
	return list
}
