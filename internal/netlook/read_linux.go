package netlook

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/nft"
)

// Read looks at the network namespace that path names (/proc/PID/ns/net). The
// error says that it could not be entered; what could not be read inside is in
// Unseen.
func Read(path string) (State, error) {
	s := State{Links: map[int]Link{}}
	err := kernel.InNetNS(path, func() error {
		for _, part := range []struct {
			what string
			read func() error
		}{{"the number of the namespace", s.cookie}, {"links", s.links}, {"qdiscs", s.queues}, {"filters", s.filters}, {"routes", s.routes}, {"tables of the old iptables", s.legacy}} {
			if err := part.read(); err != nil {
				s.Unseen = append(s.Unseen, fmt.Sprintf("%s: %v", part.what, err))
			}
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if err := s.ruleset(path); err != nil {
		s.Unseen = append(s.Unseen, fmt.Sprintf("rules of nf_tables: %v", err))
	}
	return s, nil
}

func (s *State) cookie() (err error) {
	s.Cookie, err = kernel.NetNSCookie()
	return err
}

func (s *State) links() error {
	list, err := net.Interfaces()
	for _, l := range list {
		s.Links[l.Index] = Link{Name: l.Name, Up: l.Flags&net.FlagUp != 0}
	}
	return err
}

// attrs are the attributes of a message of rtnetlink, by kind.
func attrs(b []byte) (map[uint16][]byte, error) {
	list, err := nl.ParseRouteAttr(b)
	m := map[uint16][]byte{}
	for _, a := range list {
		m[a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = a.Value
	}
	return m, err
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// counting are the kinds whose options change by themselves.
func counting(kind string) bool { return kind == "htb" || kind == "red" || kind == "sfq" }

func (s *State) queues() error {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC})
	return each(req, unix.RTM_NEWQDISC, nl.SizeofTcMsg, func(head, rest []byte) error {
		m := nl.DeserializeTcMsg(head)
		a, err := attrs(rest)
		if err != nil {
			return err
		}
		q := Queue{Link: int(m.Ifindex), Kind: text(a[unix.TCA_KIND]), Handle: m.Handle, Parent: m.Parent}
		if !counting(q.Kind) {
			q.Options = hex.EncodeToString(a[unix.TCA_OPTIONS])
		}
		s.Queues = append(s.Queues, q)
		return nil
	})
}

// each passes the messages of an answer on, in head and rest.
func each(req *nl.NetlinkRequest, kind uint16, head int, visit func(head, rest []byte) error) error {
	messages, err := req.Execute(unix.NETLINK_ROUTE, kind)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if len(m) < head {
			return fmt.Errorf("a message of %d bytes", len(m))
		}
		if err := visit(m[:head], m[head:]); err != nil {
			return err
		}
	}
	return nil
}

// filters asks every queue that somebody made; those of the kernel have handle 0
// and can have none.
func (s *State) filters() error {
	for _, q := range s.Queues {
		if q.Handle == 0 {
			continue
		}
		parents := []uint32{q.Handle}
		if q.Kind == "clsact" {
			parents = []uint32{clsact&^0xf | 2, clsact&^0xf | 3}
		}
		for _, parent := range parents {
			err := s.filtersAt(q.Link, parent)
			if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENODEV) {
				return err // those say that it is a kind without, or just gone
			}
		}
	}
	return nil
}

func (s *State) filtersAt(link int, parent uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(link), Parent: parent})
	return each(req, unix.RTM_NEWTFILTER, nl.SizeofTcMsg, func(head, rest []byte) error {
		m := nl.DeserializeTcMsg(head)
		a, err := attrs(rest)
		if m.Handle != 0 && err == nil { // handle 0 only says that there is a chain
			s.Filters = append(s.Filters, Filter{
				Link: link, Kind: text(a[unix.TCA_KIND]), Parent: m.Parent, Handle: m.Handle,
				Priority: uint16(m.Info >> 16), Protocol: uint16(m.Info),
			})
		}
		return err
	})
}

// kinds are rtnetlink's types of routes (rtnetlink(7), rtm_type) that are told.
var kinds = map[byte]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

func (s *State) routes() error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		msg := &nl.RtMsg{}
		msg.Family = family
		req.AddData(msg)
		err := each(req, unix.RTM_NEWROUTE, unix.SizeofRtMsg, func(head, rest []byte) error {
			m := nl.DeserializeRtMsg(head)
			a, err := attrs(rest)
			if kinds[m.Type] != "" && m.Table != unix.RT_TABLE_LOCAL && m.Flags&unix.RTM_F_CLONED == 0 && err == nil {
				s.Routes = append(s.Routes, s.route(m, a))
			}
			return err
		})
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
			return err
		}
	}
	return nil
}

func (s *State) route(m *nl.RtMsg, a map[uint16][]byte) Route {
	r := Route{Kind: kinds[m.Type], V6: m.Family == unix.AF_INET6, Proto: m.Protocol, Text: "default"}
	if dst := a[unix.RTA_DST]; dst != nil {
		r.Text = fmt.Sprintf("%v/%d", net.IP(dst), m.Dst_len)
	}
	if via := a[unix.RTA_GATEWAY]; via != nil {
		r.Text += fmt.Sprintf(" via %v", net.IP(via))
	}
	if oif := a[unix.RTA_OIF]; len(oif) == 4 {
		r.Link = int(nl.NativeEndian().Uint32(oif))
		r.Text += " dev " + s.Links[r.Link].Name
	}
	if metric := a[unix.RTA_PRIORITY]; len(metric) == 4 {
		r.Text += fmt.Sprintf(" metric %d", nl.NativeEndian().Uint32(metric))
	}
	table := uint32(m.Table)
	if t := a[unix.RTA_TABLE]; len(t) == 4 {
		table = nl.NativeEndian().Uint32(t)
	}
	if table != unix.RT_TABLE_MAIN {
		r.Text += fmt.Sprintf(" table %d", table)
	}
	return r
}

func (s *State) legacy() error {
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		data, err := os.ReadFile("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without
		}
		if err != nil {
			return err
		}
		for table := range strings.FieldsSeq(string(data)) {
			s.Legacy = append(s.Legacy, strings.TrimSuffix(name, "_tables_names")+" "+table)
		}
	}
	return nil
}

func (s *State) ruleset(path string) error {
	c, err := nft.Dial(path)
	if err != nil {
		return err
	}
	err = s.nft(c)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		err = nil // a kernel without nf_tables has no rules of it
	}
	return errors.Join(err, c.Close())
}

func (s *State) nft(c *nft.Conn) error {
	tables, err := c.Tables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		s.Tables = append(s.Tables, Table{t.Family.String(), t.Name, t.Owner != 0})
	}
	if len(tables) == 0 {
		return nil
	}
	rules, err := c.AllRules()
	for _, r := range rules {
		s.Rules = append(s.Rules, Rule{
			Table: Table{Family: r.Table.Family.String(), Name: r.Table.Name},
			Chain: r.Chain, Comment: r.Comment, Handle: r.Handle, Stops: r.Stops, Print: r.Print,
		})
	}
	return err
}
