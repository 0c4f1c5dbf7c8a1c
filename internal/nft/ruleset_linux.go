package nft

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A RuleOf is a rule of any table, as far as it is understood here.
type RuleOf struct {
	RuleSeen
	Table  Table
	Handle uint64 // the kernel's number for it, unique in its table
	Stops  bool   // it drops, refuses, or gives to a program what meets it
	Print  string // what it says, without what changes by itself: for comparison
}

// AllRules lists the rules of all tables of the namespace, in their order.
func (c *Conn) AllRules() ([]RuleOf, error) {
	var list []RuleOf
	m := encode("rules", tableKind(unix.NFT_MSG_GETRULE), unix.NLM_F_DUMP, unix.AF_UNSPEC)
	err := c.dump(m, func(family byte, attrs []byte) error {
		r, err := parseRuleOf(attrs)
		r.Table.Family = Family(family)
		list = append(list, r)
		return err
	})
	return list, err
}

func parseRuleOf(attrs []byte) (r RuleOf, err error) {
	if r.Table.Name, r.RuleSeen, err = parseRule(attrs); err != nil {
		return r, err
	}
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_RULE_HANDLE:
			r.Handle = value(v)
		case unix.NFTA_RULE_EXPRESSIONS:
			return eachAttr(v, func(_ uint16, v []byte) error {
				name, data, err := splitExpr(v)
				r.Stops = r.Stops || stops(name, data)
				r.Print += " " + name
				if !counts(name) {
					r.Print += fmt.Sprintf("[%x]", data)
				}
				return err
			})
		}
		return nil
	})
	return r, err
}

func splitExpr(attrs []byte) (name string, data []byte, err error) {
	err = eachAttr(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			name = str(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
		return nil
	})
	return name, data, err
}

// counts names the expressions that hold what changes by itself. match and target
// are those of x_tables, whose data are the kernel's own structures.
func counts(name string) bool {
	switch name {
	case "counter", "limit", "quota", "last", "connlimit", "match", "target":
		return true
	}
	return false
}

// stops finds drops (an immediate value that is a verdict), rejections and queues;
// the targets of x_tables are known by their names.
func stops(name string, data []byte) bool {
	switch name {
	case "reject", "queue":
		return true
	case "target":
		found := false
		_ = eachAttr(data, func(kind uint16, v []byte) error { // what is not understood is no drop
			if kind == unix.NFTA_TARGET_NAME {
				t := str(v)
				found = t == "REJECT" || t == "NFQUEUE" || t == "DROP" || t == "TARPIT"
			}
			return nil
		})
		return found
	case "immediate":
		return codeOf(data) == 0 // NF_DROP (linux/netfilter.h)
	}
	return false
}

// codeOf finds the code in an immediate value that is one; NF_ACCEPT otherwise.
func codeOf(data []byte) int {
	code := 1
	_ = eachAttr(data, func(kind uint16, v []byte) error {
		if kind != unix.NFTA_IMMEDIATE_DATA {
			return nil
		}
		return eachAttr(v, func(kind uint16, v []byte) error {
			if kind != unix.NFTA_DATA_VERDICT {
				return nil
			}
			return eachAttr(v, func(kind uint16, v []byte) error {
				if kind == unix.NFTA_VERDICT_CODE {
					code = int(int32(value(v)))
				}
				return nil
			})
		})
	})
	return code
}
