package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Family says which packets a table sees.
type Family byte

// The families that are used here (linux/netfilter.h, NFPROTO_*).
const (
	Inet   Family = unix.NFPROTO_INET   // IPv4 and IPv6, at the hooks of the stack
	Netdev Family = unix.NFPROTO_NETDEV // whatever passes a device
)

func (f Family) String() string {
	switch f {
	case Inet:
		return "inet"
	case Netdev:
		return "netdev"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_ARP:
		return "arp"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	}
	return fmt.Sprintf("family %d", byte(f))
}

// A Table is the name of one; names are unique per family.
type Table struct {
	Family Family
	Name   string
}

// MaxName is the longest that a name may be, its final zero included
// (linux/netfilter/nf_tables.h, NFT_NAME_MAXLEN).
const MaxName = 256

// A Hook is where a base chain meets packets.
type Hook struct {
	Number   uint32
	Priority int32
	Devices  []string // of family netdev
	// Rerouting has a packet find its way anew whose addresses a rule changed. It is
	// for what the node itself sends, and for IP only.
	Rerouting bool
}

// Arriving sees what arrives, before connection tracking (priority raw -300) and
// before every rule that a firewall usually has. An accept of another base chain
// cannot save a packet from a drop in this one (nft(8), "accept").
func Arriving() Hook { return Hook{Number: unix.NF_INET_PRE_ROUTING, Priority: -400} }

// Sending sees what the node itself sends. A drop here is told to the sender as
// EPERM.
func Sending() Hook { return Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: -400} }

// Rerouting sees what the node itself sends, before Sending, connection tracking and
// every rule that a firewall usually has; a packet whose addresses are changed there
// goes where they say.
func Rerouting() Hook {
	return Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: -410, Rerouting: true}
}

// Leaving sees what leaves through the devices. A drop here is silent, as one in
// the network is. It takes Linux 5.16 with CONFIG_NETFILTER_EGRESS.
func Leaving(devices ...string) Hook {
	return Hook{Number: unix.NF_NETDEV_EGRESS, Priority: -400, Devices: devices}
}

// A KeyType is what the elements of a set are: how wide they are, and, for
// people who list it with nft, how they look.
type KeyType struct {
	id, size uint32
}

// The types of keys (nftables, src/datatype.c, enum datatypes).
func IPv4() KeyType { return KeyType{7, 4} }

// IPv6 is an address of 16 bytes.
func IPv6() KeyType { return KeyType{8, 16} }

// Port is a port of 2 bytes, in network byte order.
func Port() KeyType { return KeyType{13, 2} }

// Mark is a number of 4 bytes, in the machine's byte order.
func Mark() KeyType { return KeyType{19, 4} }

// A Set is a set within a table.
type Set struct {
	Name     string
	ID       uint32 // of our choice, unique in the batch that makes it
	Key      KeyType
	Counting bool // each element counts the packets that met it
	Timeouts bool // elements may have one
	Ranges   bool // elements are ranges
}

// An Element is one member of a set.
type Element struct {
	Key     []byte
	Timeout time.Duration // 0 is none; the kernel's unit is 1 ms
	End     bool          // Key is the first that is not in the range any more
}

// Addresses are those that fit into the set, each once.
func Addresses(set Set, addrs []netip.Addr) (list []Element) {
	sorted := slices.Clone(addrs)
	slices.SortFunc(sorted, netip.Addr.Compare)
	for _, a := range slices.Compact(sorted) {
		if a.Is4() == (set.Key == IPv4()) {
			list = append(list, Element{Key: a.AsSlice()})
		}
	}
	return list
}

// PortRange is a range of ports as elements of a set of ranges. Those of a set must
// not overlap.
func PortRange(lo, hi uint16) []Element {
	list := []Element{{Key: binary.BigEndian.AppendUint16(nil, lo)}}
	if hi < 65535 {
		list = append(list, Element{Key: binary.BigEndian.AppendUint16(nil, hi+1), End: true})
	}
	return list
}

// A Batch is a transaction in the making.
type Batch struct {
	messages []message
	err      error // of the first request that cannot be encoded
}

func (b *Batch) add(what string, kind, flags uint16, t Table, attrs ...attr) {
	if len(t.Name) >= MaxName && b.err == nil {
		b.err = fmt.Errorf("the name of table %s has %d bytes, at most %d", t.Name, len(t.Name), MaxName-1)
	}
	b.messages = append(b.messages, encode(what, tableKind(kind), unix.NLM_F_ACK|flags, byte(t.Family), attrs...))
}

// flagOwner is NFT_TABLE_F_OWNER (Linux 5.12).
const flagOwner = 2

// AddTable makes a table that belongs to the socket: nobody else can change it,
// and it is gone with the socket. One of that name must not be there.
func (b *Batch) AddTable(t Table) {
	b.add("making table "+t.Name, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t,
		text(unix.NFTA_TABLE_NAME, t.Name), num32(unix.NFTA_TABLE_FLAGS, flagOwner))
}

// DeleteTable removes a table with all that is in it.
func (b *Batch) DeleteTable(t Table) {
	b.add("removing table "+t.Name, unix.NFT_MSG_DELTABLE, 0, t, text(unix.NFTA_TABLE_NAME, t.Name))
}

// AddChain makes a chain; one with a hook sees packets by itself and lets pass
// what no rule of it decides on.
func (b *Batch) AddChain(t Table, name string, hook *Hook) {
	attrs := []attr{text(unix.NFTA_CHAIN_TABLE, t.Name), text(unix.NFTA_CHAIN_NAME, name)}
	if hook != nil {
		at := []attr{num32(unix.NFTA_HOOK_HOOKNUM, hook.Number), num32(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))}
		switch len(hook.Devices) {
		case 0:
		case 1:
			at = append(at, text(unix.NFTA_HOOK_DEV, hook.Devices[0]))
		default:
			var devices []attr
			for _, d := range hook.Devices {
				devices = append(devices, text(deviceName, d))
			}
			at = append(at, nest(hookDevices, devices...))
		}
		kind := "filter"
		if hook.Rerouting {
			kind = "route"
		}
		attrs = append(attrs, nest(unix.NFTA_CHAIN_HOOK, at...), text(unix.NFTA_CHAIN_TYPE, kind),
			num32(unix.NFTA_CHAIN_POLICY, uint32(accept)))
	}
	b.add("making chain "+name, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, attrs...)
}

// Numbers of linux/netfilter/nf_tables.h that package unix lacks.
const (
	hookDevices  = 4  // NFTA_HOOK_DEVS
	deviceName   = 1  // NFTA_DEVICE_NAME
	setExpr      = 17 // NFTA_SET_EXPR
	elemExprs    = 11 // NFTA_SET_ELEM_EXPRESSIONS
	tableOwner   = 7  // NFTA_TABLE_OWNER
	rejectType   = 1  // NFTA_REJECT_TYPE
	rejectCode   = 2  // NFTA_REJECT_ICMP_CODE
	commentUData = 0  // NFTNL_UDATA_RULE_COMMENT

	targetName, targetRevision, targetInfo = 1, 2, 3 // NFTA_TARGET_*, linux/netfilter/nf_tables_compat.h
)

// AddSet makes a set.
func (b *Batch) AddSet(t Table, s Set) {
	var flags uint32
	if s.Timeouts {
		flags |= unix.NFT_SET_TIMEOUT
	}
	if s.Ranges {
		flags |= unix.NFT_SET_INTERVAL
	}
	attrs := []attr{
		text(unix.NFTA_SET_TABLE, t.Name), text(unix.NFTA_SET_NAME, s.Name), num32(unix.NFTA_SET_FLAGS, flags),
		num32(unix.NFTA_SET_KEY_TYPE, s.Key.id), num32(unix.NFTA_SET_KEY_LEN, s.Key.size), num32(unix.NFTA_SET_ID, s.ID),
	}
	if s.Counting {
		attrs = append(attrs, nest(setExpr, counter()...))
	}
	b.add("making set "+s.Name, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, attrs...)
}

// chunk is how many elements go into one message: a list must fit into one
// attribute of 64 KiB.
const chunk = 400

// AddElements puts elements into a set. One that is in it already is an error.
func (b *Batch) AddElements(t Table, s Set, list []Element) {
	b.elements("adding to set "+s.Name, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, s, list)
}

// DeleteElements takes elements out of a set. One that is not in it (because its
// time is over) is an error, ENOENT: nothing of the batch is done then.
func (b *Batch) DeleteElements(t Table, s Set, list []Element) {
	b.elements("taking from set "+s.Name, unix.NFT_MSG_DELSETELEM, 0, t, s, list)
}

func (b *Batch) elements(what string, kind, flags uint16, t Table, s Set, list []Element) {
	for len(list) > 0 {
		n := min(len(list), chunk)
		var elems []attr
		for _, e := range list[:n] {
			elems = append(elems, e.encode())
		}
		attrs := []attr{
			text(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name), text(unix.NFTA_SET_ELEM_LIST_SET, s.Name),
			nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elems...),
		}
		if kind == unix.NFT_MSG_NEWSETELEM {
			attrs = append(attrs, num32(unix.NFTA_SET_ELEM_LIST_SET_ID, s.ID))
		}
		b.add(what, kind, flags, t, attrs...)
		list = list[n:]
	}
}

func (e Element) encode() attr {
	attrs := []attr{nest(unix.NFTA_SET_ELEM_KEY, raw(unix.NFTA_DATA_VALUE, e.Key))}
	if e.Timeout > 0 {
		attrs = append(attrs, num64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(1, e.Timeout.Milliseconds()))))
	}
	if e.End {
		attrs = append(attrs, num32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END))
	}
	return nest(unix.NFTA_LIST_ELEM, attrs...)
}

// AddRule appends a rule to a chain. The comment is shown by nft, and by Rules.
func (b *Batch) AddRule(t Table, chain, comment string, parts ...Part) {
	var exprs []attr
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	attrs := []attr{
		text(unix.NFTA_RULE_TABLE, t.Name), text(unix.NFTA_RULE_CHAIN, chain), nest(unix.NFTA_RULE_EXPRESSIONS, exprs...),
	}
	if comment != "" {
		comment = comment[:min(len(comment), 127)] // NFTNL_UDATA_COMMENT_MAXLEN
		data := append([]byte{commentUData, byte(len(comment) + 1)}, comment...)
		attrs = append(attrs, raw(unix.NFTA_RULE_USERDATA, append(data, 0)))
	}
	b.add(fmt.Sprintf("adding the rule %q", comment), unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t, attrs...)
}
