package nft

import (
	"time"

	"golang.org/x/sys/unix"
)

// A TableSeen is a table as the kernel lists it.
type TableSeen struct {
	Table
	Owner uint32 // the port of the socket that it belongs to; 0 is nobody's
}

// Tables lists all tables of the namespace, those of others too.
func (c *Conn) Tables() ([]TableSeen, error) {
	var list []TableSeen
	m := encode("tables", tableKind(unix.NFT_MSG_GETTABLE), unix.NLM_F_DUMP, unix.AF_UNSPEC)
	err := c.dump(m, func(family byte, attrs []byte) error {
		t, err := parseTable(attrs)
		t.Family = Family(family)
		list = append(list, t)
		return err
	})
	return list, err
}

func parseTable(attrs []byte) (t TableSeen, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_TABLE_NAME:
			t.Name = str(v)
		case tableOwner:
			t.Owner = uint32(value(v))
		}
		return nil
	})
	return t, err
}

// An ElementSeen is an element of a set as the kernel lists it: those whose time
// is over are not.
type ElementSeen struct {
	Key     []byte
	Expires time.Duration // from now; 0 if it never does
	Packets uint64        // that met it, if the set counts
}

// Elements lists what is in a set.
func (c *Conn) Elements(t Table, set string) ([]ElementSeen, error) {
	var list []ElementSeen
	m := encode("set "+set+" of table "+t.Name, tableKind(unix.NFT_MSG_GETSETELEM), unix.NLM_F_DUMP, byte(t.Family),
		text(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name), text(unix.NFTA_SET_ELEM_LIST_SET, set))
	err := c.dump(m, func(_ byte, attrs []byte) error {
		return parseElements(attrs, &list)
	})
	return list, err
}

func parseElements(attrs []byte, list *[]ElementSeen) error {
	return eachAttr(attrs, func(kind uint16, v []byte) error {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return eachAttr(v, func(_ uint16, v []byte) error {
			e, err := parseElement(v)
			*list = append(*list, e)
			return err
		})
	})
}

func parseElement(attrs []byte) (e ElementSeen, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) (err error) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			return eachAttr(v, func(kind uint16, v []byte) error {
				if kind == unix.NFTA_DATA_VALUE {
					e.Key = append([]byte(nil), v...)
				}
				return nil
			})
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.Expires = time.Duration(min(value(v), 1<<40)) * time.Millisecond
		case unix.NFTA_SET_ELEM_EXPR:
			e.Packets, _, err = parseExpr(v)
		case elemExprs:
			err = eachAttr(v, func(_ uint16, v []byte) error {
				n, is, err := parseExpr(v)
				if is {
					e.Packets = n
				}
				return err
			})
		}
		return err
	})
	return e, err
}

// parseExpr reads an expression, which may be a counter.
func parseExpr(attrs []byte) (packets uint64, isCounter bool, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch {
		case kind == unix.NFTA_EXPR_NAME:
			isCounter = str(v) == "counter"
		case kind == unix.NFTA_EXPR_DATA && isCounter:
			return eachAttr(v, func(kind uint16, v []byte) error {
				if kind == unix.NFTA_COUNTER_PACKETS {
					packets = value(v)
				}
				return nil
			})
		}
		return nil
	})
	return packets, isCounter, err
}

// A RuleSeen is a rule as the kernel lists it.
type RuleSeen struct {
	Chain, Comment string
	Packets        uint64 // of its counter, if it has one
}

// Rules lists the rules of a table in their order.
func (c *Conn) Rules(t Table) ([]RuleSeen, error) {
	var list []RuleSeen
	m := encode("rules of table "+t.Name, tableKind(unix.NFT_MSG_GETRULE), unix.NLM_F_DUMP, byte(t.Family), text(unix.NFTA_RULE_TABLE, t.Name))
	err := c.dump(m, func(_ byte, attrs []byte) error {
		name, r, err := parseRule(attrs)
		if name == t.Name { // kernels differ in whether they filter
			list = append(list, r)
		}
		return err
	})
	return list, err
}

func parseRule(attrs []byte) (table string, r RuleSeen, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			table = str(v)
		case unix.NFTA_RULE_CHAIN:
			r.Chain = str(v)
		case unix.NFTA_RULE_USERDATA:
			r.Comment = comment(v)
		case unix.NFTA_RULE_EXPRESSIONS:
			return eachAttr(v, func(_ uint16, v []byte) error {
				n, is, err := parseExpr(v)
				if is {
					r.Packets = n
				}
				return err
			})
		}
		return nil
	})
	return table, r, err
}

// comment finds the comment in what nft keeps beside a rule: type, length and
// value of one byte, one byte and length bytes.
func comment(b []byte) string {
	for len(b) >= 2 {
		n := int(b[1])
		if n > len(b)-2 {
			return ""
		}
		if b[0] == commentUData {
			return str(b[2 : 2+n])
		}
		b = b[2+n:]
	}
	return ""
}

// A ChainSeen is a chain that meets packets by itself, as the kernel lists it.
type ChainSeen struct {
	Table    Table
	Name     string
	Hook     uint32 // unix.NF_INET_*, or of family netdev unix.NF_NETDEV_*
	Priority int32
	Drops    bool // what no rule of it decides on
}

// Chains lists the base chains of all tables of the namespace.
func (c *Conn) Chains() ([]ChainSeen, error) {
	var list []ChainSeen
	m := encode("chains", tableKind(unix.NFT_MSG_GETCHAIN), unix.NLM_F_DUMP, unix.AF_UNSPEC)
	err := c.dump(m, func(family byte, attrs []byte) error {
		s, base, err := parseChain(attrs)
		s.Table.Family = Family(family)
		if base {
			list = append(list, s)
		}
		return err
	})
	return list, err
}

func parseChain(attrs []byte) (s ChainSeen, base bool, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			s.Table.Name = str(v)
		case unix.NFTA_CHAIN_NAME:
			s.Name = str(v)
		case unix.NFTA_CHAIN_POLICY:
			s.Drops = value(v) == uint64(drop)
		case unix.NFTA_CHAIN_HOOK:
			base = true
			return eachAttr(v, func(kind uint16, v []byte) error {
				switch kind {
				case unix.NFTA_HOOK_HOOKNUM:
					s.Hook = uint32(value(v))
				case unix.NFTA_HOOK_PRIORITY:
					s.Priority = int32(uint32(value(v)))
				}
				return nil
			})
		}
		return nil
	})
	return s, base, err
}
