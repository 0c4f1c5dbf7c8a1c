package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/dapple-drills/dapple/probes"
)

// A view is what one server says of the group.
type view struct {
	self     string // uuid of the server
	group    string // the group's name, "" if the plugin is not there
	number   uint64 // of the view; 0 in no group
	readOnly bool   // super_read_only
	members  []member
}

// A member is one of the group as a server sees it
// (performance_schema.replication_group_members).
type member struct{ id, host, port, state, role string }

// The states and roles that decide something here.
const (
	online      = "ONLINE"
	unreachable = "UNREACHABLE"
	primary     = "PRIMARY"
)

// viewQuery asks for all of it in one round trip; a server in no group has a member
// without an id, or none.
const viewQuery = `SELECT @@server_uuid, @@global.super_read_only,
	(SELECT VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME = 'group_replication_group_name'),
	(SELECT MAX(VIEW_ID) FROM performance_schema.replication_group_member_stats),
	m.MEMBER_ID, m.MEMBER_HOST, m.MEMBER_PORT, m.MEMBER_STATE, m.MEMBER_ROLE
FROM (SELECT 1) one LEFT JOIN performance_schema.replication_group_members m ON TRUE`

func (c *conn) view(ctx context.Context) (view, error) {
	rows, err := c.query(ctx, viewQuery)
	if err != nil {
		return view{}, lacking(err)
	}
	return readView(rows)
}

// lacking says what a user lacks who may write and not look.
func lacking(err error) error {
	if n := number(err); n == 1142 || n == 1143 {
		return fmt.Errorf("%w: the user of clients.dsn needs GRANT SELECT ON performance_schema.* to see the group", err)
	}
	return err
}

func readView(rows [][]string) (view, error) {
	if len(rows) == 0 || len(rows[0]) != 9 {
		return view{}, errors.New("the server tells nothing of the group")
	}
	first := rows[0]
	v := view{self: first[0], readOnly: first[1] == "1", group: first[2]}
	// PREFIX:NUMBER; the prefix is when the group was made.
	if _, n, ok := strings.Cut(first[3], ":"); ok {
		var err error
		if v.number, err = strconv.ParseUint(n, 10, 64); err != nil {
			return view{}, fmt.Errorf("the view %q has no number", first[3])
		}
	}
	for _, r := range rows {
		if m := (member{r[4], r[5], r[6], r[7], r[8]}); m.id != "" {
			v.members = append(v.members, m)
		}
	}
	return v, nil
}

// me is what the server says of itself.
func (v view) me() member {
	for _, m := range v.members {
		if m.id == v.self {
			return m
		}
	}
	return member{id: v.self, state: "OFFLINE"}
}

// quorum says whether the server reaches more than half of the group, itself
// included: without them nothing is committed.
func (v view) quorum() bool {
	reached := 0
	for _, m := range v.members {
		if m.state != unreachable {
			reached++
		}
	}
	return 2*reached > len(v.members)
}

// leads says whether the server itself is a primary that can commit.
func (v view) leads() bool {
	m := v.me()
	return m.state == online && m.role == primary && !v.readOnly && v.quorum()
}

// outside says whether the server takes writes and is in no group.
func (v view) outside() bool {
	m := v.me()
	return !v.readOnly && m.state != online && m.state != "RECOVERING"
}

// primaries are the members that the server takes for primaries.
func (v view) primaries() (all []member) {
	for _, m := range v.members {
		if m.role == primary && m.state == online {
			all = append(all, m)
		}
	}
	return all
}

// String is the view as evidence.
func (v view) String() string {
	m := v.me()
	said := strings.TrimSpace(m.state + " " + m.role)
	if v.number > 0 {
		said += fmt.Sprintf(" in view %d", v.number)
	}
	gone := 0
	for _, m := range v.members {
		if m.state == unreachable {
			gone++
		}
	}
	if gone > 0 {
		said += fmt.Sprintf(", %d of %d members unreachable", gone, len(v.members))
	}
	if v.readOnly {
		said += ", super_read_only"
	}
	return said
}

// claim is what the server claims to be.
func (s *System) claim(v view) probes.Claim {
	c := probes.Claim{Role: probes.None, Detail: v.String()}
	switch m := v.me(); {
	case v.leads():
		c.Role, c.Epoch = probes.Primary, s.reigns.of(v.self, v.number)
	case v.outside():
		c.Role, c.Detail = probes.Primary, c.Detail+", takes writes in no group"
	case m.state == online && m.role != primary && v.quorum():
		c.Role = probes.Replica
		if p := v.primaries(); len(p) == 1 {
			c.Epoch = s.reigns.of(p[0].id, v.number)
		}
	}
	return c
}

// reigns number the times in which a server is primary, by the view in which it was
// first seen to be. Views are numbered through the whole group, and a later primary
// has a later one; but they change with every member that comes or goes, which is no
// new reign.
type reigns struct {
	mu   sync.Mutex
	from map[string]uint64 // server → view; not there: not primary when last seen
}

// of is the reign in which the server is primary in that view, as text; "" in none.
func (r *reigns) of(server string, number uint64) string {
	if number == 0 {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from == nil {
		r.from = map[string]uint64{}
	}
	from, known := r.from[server]
	if !known || from > number {
		r.from[server], from = number, number
	}
	return strconv.FormatUint(from, 10)
}

// seen notes that a server which says that it is none, is no primary any more. One
// that has only lost the majority may still be.
func (r *reigns) seen(v view) {
	if m := v.me(); m.role != primary || m.state != online {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.from, v.self)
	}
}
