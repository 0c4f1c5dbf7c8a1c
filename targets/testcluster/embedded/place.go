package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"

	"github.com/dapple-drills/dapple/targets/netns"
)

// A place is where a member listens.
type place struct {
	name         string
	ip           string
	client, peer int // ports
}

func (p place) clientURL() string { return "http://" + p.clientAddr() }
func (p place) peerURL() string   { return "http://" + net.JoinHostPort(p.ip, strconv.Itoa(p.peer)) }

func (p place) clientAddr() string { return net.JoinHostPort(p.ip, strconv.Itoa(p.client)) }

// etcd's registered ports (IANA: etcd-client, etcd-server).
const (
	clientPort = 2379
	peerPort   = 2380
)

// places is how many random choices pickPlaces looks at.
const places = 32

// pickPlaces chooses an address of its own for each member, at etcd's own ports:
// 127.A.B.1 to 127.A.B.3 with A and B at random, all of which are loopback on
// Linux. So no port is taken from the range that the kernel gives to outgoing
// connections: a dead member's port from that range would soon be somebody
// else's, and the member could not come back.
//
// Where only 127.0.0.1 can be listened on, it chooses ports below that range.
func pickPlaces() ([]place, error) {
	var errs []error
	for i := range places {
		at := onAddresses
		if i >= places/2 {
			at = onPorts
		}
		chosen := at()
		err := free(chosen)
		if err == nil {
			return chosen, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no free loopback addresses in %d tries: %w", places, errors.Join(errs[0], errs[len(errs)-1]))
}

// inNamespaces are the addresses of the members of a lab, which nobody else sees.
func inNamespaces() ([]place, error) {
	at := make([]place, Members)
	for i := range at {
		ip, err := netns.AddressOf(i + 1)
		if err != nil {
			return nil, err
		}
		at[i] = place{name: name(i), ip: ip, client: clientPort, peer: peerPort}
	}
	return at, nil
}

func onAddresses() []place {
	// 127.16.0.0 to 127.250.255.0 leaves out what people choose by hand.
	net := fmt.Sprintf("127.%d.%d.", 16+rand.IntN(235), rand.IntN(256))
	at := make([]place, Members)
	for i := range at {
		at[i] = place{name: name(i), ip: net + strconv.Itoa(i+1), client: clientPort, peer: peerPort}
	}
	return at
}

// onPorts chooses below 32768, where Linux begins its range of ephemeral ports
// by default (ip(7), ip_local_port_range).
func onPorts() []place {
	const lowest, ephemeral = 10000, 32768
	base := lowest + rand.IntN(ephemeral-lowest-2*Members)
	at := make([]place, Members)
	for i := range at {
		at[i] = place{name: name(i), ip: "127.0.0.1", client: base + 2*i, peer: base + 2*i + 1}
	}
	return at
}

func name(i int) string { return "n" + strconv.Itoa(i+1) }

// free says whether all places can be listened on now. Somebody may take one
// before its member does: Start then tries others.
func free(at []place) error {
	for _, p := range at {
		for _, port := range []int{p.client, p.peer} {
			l, err := net.Listen("tcp", net.JoinHostPort(p.ip, strconv.Itoa(port)))
			if err != nil {
				return err
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// errTaken: a member could not listen where it was told to.
var errTaken = errors.New("an address was taken by another process")

// taken is how the Go runtime words EADDRINUSE in a member's log.
var taken = syscall.EADDRINUSE.Error()
