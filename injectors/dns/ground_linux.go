package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/peers"
	"github.com/dapple-drills/dapple/internal/volumes"
	"github.com/dapple-drills/dapple/targets"
)

// kernelGround is the real one.
type kernelGround struct{}

// Stand finds the namespace by its number.
func (kernelGround) Stand(ctx context.Context, n targets.Node) (peers.Site, error) {
	return peers.Stand(ctx, n)
}

// Addresses asks the kernel from inside.
func (kernelGround) Addresses(_ context.Context, at peers.Site) ([]netip.Addr, error) {
	return peers.OnLinks(at)
}

// Files reads them as the node's main process sees them. Without a hosts file,
// every name is asked for.
func (kernelGround) Files(ctx context.Context, n targets.Node) (resolv, hosts []byte, err error) {
	if resolv, err = volumes.ReadFile(ctx, n, "/etc/resolv.conf"); err != nil {
		return nil, nil, err
	}
	hosts, err = volumes.ReadFile(ctx, n, "/etc/hosts")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return resolv, hosts, err
}

// Able has a packet go elsewhere and an answer come back, in a namespace of its own.
func (kernelGround) Able(context.Context) error {
	if err := peers.Permission(nft.TryRewrite()); err != nil {
		return diag.Hint(fmt.Errorf("a table that dies with its holder and rewrites packets: %w", err), "run dapple as root (CAP_NET_ADMIN, CAP_SYS_ADMIN), on Linux 5.12 or later with CONFIG_NF_TABLES_INET: Debian 12 has it")
	}
	return nil
}

// Obstacles finds chains of others that meet the node's packets before ours, or that
// let packets pass only by name without naming those of the node with itself: there,
// our answers are. What the old iptables has is not listed by the kernel; it is met
// by Effect.
func (kernelGround) Obstacles(_ context.Context, at peers.Site) (err error) {
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return peers.Permission(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	chains, err := conn.Chains()
	if err != nil {
		return err
	}
	rules, err := conn.AllRules()
	if err != nil {
		return err
	}
	for _, c := range chains {
		if why := obstacle(c, rules); why != nil {
			return why
		}
	}
	return nil
}

// obstacle says why a chain would keep questions from us, or answers from the node.
func obstacle(c nft.ChainSeen, rules []nft.RuleOf) error {
	if c.Table.Family == nft.Netdev || strings.HasPrefix(c.Table.Name, "dapple") {
		return nil
	}
	name := fmt.Sprintf("chain %s of table %v %s", c.Name, c.Table.Family, c.Table.Name)
	mine := slices.DeleteFunc(slices.Clone(rules), func(r nft.RuleOf) bool { return r.Table != c.Table })
	inChain := func(r nft.RuleOf) bool { return r.Chain == c.Name }
	switch hook := nft.Rerouting(); {
	case c.Hook == hook.Number && c.Priority < hook.Priority && slices.ContainsFunc(mine, inChain):
		return diag.Hint(fmt.Errorf("%s meets what the node sends before we can (priority %d): it may have the questions first", name, c.Priority),
			"take it out for the drill: nft list table "+c.Table.Family.String()+" "+c.Table.Name)
	case !c.Drops || !slices.Contains([]uint32{unix.NF_INET_PRE_ROUTING, unix.NF_INET_LOCAL_IN, unix.NF_INET_LOCAL_OUT}, c.Hook):
		return nil
	case slices.ContainsFunc(mine, namesLoopback):
		return nil
	}
	return diag.Hint(fmt.Errorf("%s drops what no rule of it lets pass, and none lets the node talk to itself: our answers would not arrive", name),
		"let what goes over lo pass, as most programs need it")
}

// namesLoopback says whether a rule looks for the device lo: by its name, or by its
// number, which is always 1.
func namesLoopback(r nft.RuleOf) bool {
	return strings.Contains(r.Print, "meta[") && (strings.Contains(r.Print, "6c6f00") || strings.Contains(r.Print, "01000000"))
}

// Look reads the table through a socket of its own.
func (kernelGround) Look(_ context.Context, at peers.Site, s state) (v sight, err error) {
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return v, peers.Permission(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return look(conn, s)
}

// look finds nothing where the table goes while it looks.
func look(conn *nft.Conn, s state) (sight, error) {
	v, err := read(conn, s)
	if errors.Is(err, unix.ENOENT) {
		return sight{}, nil
	}
	return v, err
}

func read(conn *nft.Conn, s state) (v sight, err error) {
	list, err := conn.Tables()
	if err != nil || !slices.ContainsFunc(list, func(x nft.TableSeen) bool { return x.Table == s.table() }) {
		return v, err
	}
	v = sight{There: true, Met: map[netip.Addr]uint64{}}
	leases, err := conn.Elements(s.table(), leaseSet().Name)
	if err != nil {
		return v, err
	}
	for _, e := range leases {
		v.Lease = max(v.Lease, e.Expires)
	}
	rules, err := conn.Rules(s.table())
	if err != nil {
		return v, err
	}
	for _, server := range s.Servers {
		for _, network := range []string{"udp", "tcp"} {
			i := slices.IndexFunc(rules, func(r nft.RuleSeen) bool { return r.Comment == led(server, network) })
			if i < 0 {
				v.Missing = append(v.Missing, fmt.Sprintf("the rule %q", led(server, network)))
				continue
			}
			v.Met[server] += rules[i].Packets
		}
	}
	return v, nil
}

// Raze removes a table that nobody holds. The kernel lets nobody but the owner
// remove one.
func (kernelGround) Raze(ctx context.Context, at peers.Site, s state) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := nft.Dial(at.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	list, err := conn.Tables()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(x nft.TableSeen) bool { return x.Table == s.table() })
	if i < 0 {
		return nil
	}
	b := &nft.Batch{}
	b.DeleteTable(s.table())
	switch err = conn.Commit(b); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("table inet %s belongs to a living process (netlink socket %d), with which it ends: end the agent of that drill (dapple revert --all): %w", s.Table, list[i].Owner, err)
	}
	return err
}

// A booth is a fault that this process holds: the table belongs to the socket conn.
// It is looked at through another one, eye: a socket that is closed soon after a
// change waits for the readers of the whole kernel.
type booth struct {
	s         state
	conn, eye *nft.Conn
	sockets   *sockets
	server    *server
}

// Raise opens the sockets first: what the table leads to them is answered.
func (kernelGround) Raise(ctx context.Context, at peers.Site, s state, lease time.Duration) (_ hold, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h := &booth{s: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close()) // nothing that is half done is left
		}
	}()
	if h.sockets, err = openSockets(at.Path); err != nil {
		return nil, err
	}
	stands, err := h.sockets.stands(s.Servers)
	if err != nil {
		return nil, err
	}
	h.server = serve(ctx, s, stands, h.sockets.dial)
	if h.eye, err = nft.Dial(at.Path); err != nil {
		return nil, err
	}
	if h.conn, err = nft.Dial(at.Path); err != nil {
		return nil, err
	}
	b := &nft.Batch{}
	s.layout(b, lease, stands)
	return h, h.conn.Commit(b)
}

// Renew takes the lease out and puts it in again, in one transaction: adding it
// once more would not set its time anew, and no question passes in between.
func (h *booth) Renew(lease time.Duration) error {
	b := &nft.Batch{}
	b.DeleteElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey()}})
	b.AddElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey(), Timeout: lease}})
	err := h.conn.Commit(b)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the lease had ended before it was renewed, questions passed: %w", err)
	}
	return err
}

// Look reads the table.
func (h *booth) Look() (sight, error) { return look(h.eye, h.s) }

// Remove ends the lease, so that questions pass; has what is held back answered at
// once; and only then removes the table, by which answers come from whom was asked.
func (h *booth) Remove() error {
	b := &nft.Batch{}
	b.DeleteElements(h.s.table(), leaseSet(), []nft.Element{{Key: leaseKey()}})
	err := there(h.conn.Commit(b))
	h.server.stop()
	b = &nft.Batch{}
	b.DeleteTable(h.s.table())
	if removed := there(h.conn.Commit(b)); removed != nil {
		// Whatever keeps it from being removed so: with the socket it is gone.
		err = errors.Join(err, removed, h.conn.Close())
	}
	return err
}

// there leaves out that what is to be removed is gone already.
func there(err error) error {
	if errors.Is(err, unix.ENOENT) || nft.Closed(err) {
		return nil
	}
	return err
}

// Close closes the sockets. Nothing depends on when: what they held is gone.
func (h *booth) Close() { go func() { _ = h.close() }() }

func (h *booth) close() (err error) {
	if h.server != nil {
		h.server.stop()
	}
	for _, c := range []*nft.Conn{h.conn, h.eye} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	if h.sockets != nil {
		err = errors.Join(err, h.sockets.close())
	}
	return err
}
