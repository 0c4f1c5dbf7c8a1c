// Package etcd is etcd as drills see it: what each member claims to be, what
// becomes of a write, whose history holds which keys, who follows whom.
//
// It speaks to one member per connection over gRPC itself. clientv3 would not
// do: its balancer sends one client's calls to several members, it reconnects by
// itself, and it repeats what it holds to be safe, all of which hides outages.
//
// Three properties of etcd decide how its answers are read:
//
//   - Any member takes a write; a follower passes it on to the leader. So who
//     took a write (the header's member id) says nothing of who leads. The
//     lineage of a write is its raft term, Ack.Epoch. Two members that
//     acknowledge in one term are normal; an ack of an older term for a write
//     that was sent after an ack of a newer term had returned is not possible in
//     a correct etcd.
//   - raft_term, in headers and in Status, is the term of the entry that the
//     member applied last, not the term that raft is in (etcdserver, setTerm).
//     It is never more than the truth. So a term seen with an ack is at least
//     the entry's own, and a leader just elected shows its predecessor's term
//     for some milliseconds: its Claim has no epoch until it has its own.
//   - A leader that lost its quorum claims to lead until CheckQuorum makes it
//     step down, an election timeout later. Then two members claim the primary
//     role, in different terms, which raft allows; no write can succeed on the
//     older one.
//
// Besides the ledger's keys below /dapple/ the package changes nothing.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// Settings is what may stand under "settings" in a system file of this kind; it
// reaches Open as probes.Binding.Extra, by the same names.
type Settings struct {
	// Where the nodes themselves answer, as "node=url,node=url": where their
	// addresses and the port of the clients' URLs do not say it.
	Endpoints string `yaml:"endpoints,omitempty"`
	// The port of the nodes, if it is not that of the clients' URLs.
	Port int `yaml:"etcd_port,omitempty"`
	// For https: a file with the certificates to trust; default the system's.
	CA string `yaml:"ca,omitempty"`
	// For https: the client's certificate and its key, as files.
	Cert string `yaml:"cert,omitempty"`
	Key  string `yaml:"key,omitempty"`
	// etcd's heartbeat interval, such as 100ms. It is needed only where the
	// members' command lines cannot be read or do not say it.
	Heartbeat string `yaml:"heartbeat-interval,omitempty"`
	// etcd's election timeout, such as 1s; likewise.
	Election string `yaml:"election-timeout,omitempty"`
	// The members' log files, as their nodes see them: "node=path,node=path".
	// They date promotions independently of the probes.
	Logs string `yaml:"logs,omitempty"`
}

// Kind is an etcd cluster.
var Kind = probes.Kind{
	Name:               "etcd",
	Summary:            "etcd: raft members, any of which takes writes; the leader is the primary",
	Processes:          probes.ProcessNames{Server: []string{"etcd"}},
	Settings:           (*Settings)(nil),
	AnyNodeTakesWrites: true,
	Open: func(ctx context.Context, b probes.Binding) (probes.System, error) {
		return Open(ctx, b)
	},
}

// A System is one etcd cluster: its members and its client endpoints.
type System struct {
	clients  []endpoint
	next     atomic.Uint64 // the client endpoint that the next session tries first
	how      how
	password func() (string, error)
	bind     probes.Binding
	logs     map[string]string // node → path of its log

	mu     sync.Mutex
	places []*place
	names  map[uint64]string // member id → node, all that were ever seen
	eyes   []*eye
	terms  map[uint64]uint64 // term → the member that was first seen to lead with it
	token  string            // for looking; see lookAs
}

var (
	_ probes.System     = (*System)(nil)
	_ probes.Ledger     = (*System)(nil)
	_ probes.Observer   = (*System)(nil)
	_ probes.Membership = (*System)(nil)
	_ probes.Settings   = (*System)(nil)
	_ probes.Expecter   = (*System)(nil)
	_ probes.Forker     = (*System)(nil)
	_ probes.Dater      = (*System)(nil)
)

// firstLook is how long Open waits for the members' ids.
const firstLook = 2 * time.Second

// Open reads b and asks the members who they are. A member that does not answer
// is asked again whenever it is looked at: a system that is down can be opened.
func Open(ctx context.Context, b probes.Binding) (*System, error) {
	if b.Clients.DSN == "" {
		return nil, errors.New(`clients.dsn is missing: say how an application connects, such as "http://etcd1:2379,http://etcd2:2379"`)
	}
	clients, err := parseEndpoints(b.Clients.DSN)
	if err != nil {
		return nil, fmt.Errorf("clients.dsn: %w", err)
	}
	if b.Dial == nil {
		b.Dial = (&net.Dialer{}).DialContext
	}
	s := &System{
		clients: clients, password: b.Clients.Password, bind: b,
		names: map[uint64]string{}, terms: map[uint64]uint64{},
	}
	if s.how, err = readTLS(b.Extra, clients); err != nil {
		return nil, err
	}
	named, err := parseNamed(b.Extra["endpoints"])
	if err != nil {
		return nil, fmt.Errorf("settings.endpoints: %w", err)
	}
	if s.logs, err = parsePairs(b.Extra["logs"]); err != nil {
		return nil, fmt.Errorf("settings.logs: %w", err)
	}
	port, err := nodePort(b.Extra["etcd_port"], clients)
	if err != nil {
		return nil, err
	}
	for _, n := range b.Nodes {
		p := newPlace(n, clients[0].tls, port)
		p.outside = b.Dial
		if e, ok := named[n.Name()]; ok {
			p.fixed = &e
		}
		s.places = append(s.places, p)
	}
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	s.each(ctx, func(ctx context.Context, _ int, p *place) {
		_, _ = s.status(ctx, p) // who is down now is asked again later
	})
	return s, nil
}

// each calls do for every node at once and waits.
func (s *System) each(ctx context.Context, do func(ctx context.Context, i int, p *place)) {
	var wg sync.WaitGroup
	for i, p := range s.all() {
		wg.Go(func() { do(ctx, i, p) })
	}
	wg.Wait()
}

// all returns the places as they are now.
func (s *System) all() []*place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*place(nil), s.places...)
}

// place finds what is kept for n; n need not be one of the nodes of the binding.
func (s *System) place(n targets.Node) (*place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.places {
		if p.node.Name() == n.Name() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s is not a node of this system", n.Name())
}

// NodeName maps a member id, in hex as etcd writes it, to its node.
func (s *System) NodeName(taker string) string {
	id, err := parseID(taker)
	if err != nil {
		return ""
	}
	return s.name(id)
}

func (s *System) name(id uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[id]
}

// learn remembers who p is.
func (s *System) learn(p *place, r *pb.StatusResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[r.Header.MemberId] = p.node.Name()
	if r.Leader == r.Header.MemberId {
		if _, ok := s.terms[r.RaftTerm]; !ok {
			s.terms[r.RaftTerm] = r.Leader
		}
	}
}

// ledBefore says whether another member than id was seen to lead with term:
// then id shows a term that is not its own.
func (s *System) ledBefore(term, id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, ok := s.terms[term]
	return ok && first != id
}

// Close ends the connections that Role and the observer keep.
func (s *System) Close() error {
	for _, p := range s.all() {
		p.hangUp()
	}
	return nil
}
