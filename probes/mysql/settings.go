package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The settings on which it depends how a failover goes, what is lost, and what a
// server that was cut off does.
var settings = []string{
	"group_replication_autorejoin_tries", "group_replication_consistency", "group_replication_exit_state_action",
	"group_replication_member_expel_timeout", "group_replication_member_weight", "group_replication_single_primary_mode",
	"group_replication_start_on_boot", "group_replication_unreachable_majority_timeout",
	"innodb_flush_log_at_trx_commit", "sync_binlog", "super_read_only",
}

// varies are those that differ between members of a sound group.
var varies = []string{"super_read_only", "group_replication_member_weight"}

// Settings are what the servers have in effect. Where they differ among themselves,
// Notes say so, and the first one's is the value.
func (s *System) Settings(ctx context.Context) (effective map[string]string, notes []string, err error) {
	effective = map[string]string{}
	all, errs := s.configs(ctx)
	for i, p := range s.places {
		if errs[i] != nil {
			notes = append(notes, fmt.Sprintf("%s does not tell its settings: %s", p.node.Name(), said(errs[i])))
		}
		for _, name := range settings {
			v, told := all[i][name]
			first, there := effective[name]
			switch {
			case !told || slices.Contains(varies, name):
			case !there:
				effective[name] = v
			case first != v:
				notes = append(notes, fmt.Sprintf("%s differs: %s has %s, another %s", name, p.node.Name(), v, first))
			}
		}
	}
	if len(effective) == 0 {
		return nil, nil, fmt.Errorf("no server tells its settings: %w", errors.Join(errs...))
	}
	return effective, notes, nil
}

// configs asks each server for its settings and its version.
func (s *System) configs(ctx context.Context) ([]map[string]string, []error) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	all, errs := make([]map[string]string, len(s.places)), make([]error, len(s.places))
	names := "'" + strings.Join(append([]string{"version", "version_comment"}, settings...), "','") + "'"
	s.each(func(i int, p *place) {
		errs[i] = p.line.ask(ctx, func(ctx context.Context) (*conn, error) { return s.reach(ctx, p) }, func(ctx context.Context, c *conn) error {
			rows, err := c.query(ctx, "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME IN ("+names+")")
			if err != nil {
				return lacking(err)
			}
			all[i] = map[string]string{}
			for _, r := range rows {
				all[i][strings.ToLower(r[0])] = r[1]
			}
			return nil
		})
		errs[i] = because(ctx, errs[i])
	})
	return all, errs
}

// Versions are those that the servers run.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	all, errs := s.configs(ctx)
	v := map[string]string{}
	for i, p := range s.places {
		switch version := all[i]["version"]; {
		case version == "":
		case v["mysql"] == "":
			v["mysql"] = version
		case v["mysql"] != version:
			v["mysql on "+p.node.Name()] = version
		}
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("no server of %d tells its version: %w", len(s.places), errors.Join(errs...))
	}
	return v, nil
}

// timing is what decides how a failover goes: the longest of what the servers have.
type timing struct {
	expel    time.Duration // group_replication_member_expel_timeout
	majority time.Duration // group_replication_unreachable_majority_timeout; 0 is for ever
	waits    bool          // group_replication_consistency: a new primary first applies what it has
}

func (s *System) timing(ctx context.Context) (t timing, err error) {
	all, errs := s.configs(ctx)
	told := false
	for i, p := range s.places {
		if errs[i] != nil {
			continue
		}
		expel, err1 := seconds(all[i], "group_replication_member_expel_timeout")
		majority, err2 := seconds(all[i], "group_replication_unreachable_majority_timeout")
		if err := errors.Join(err1, err2); err != nil {
			return t, fmt.Errorf("%s: %w", p.node.Name(), err)
		}
		told = true
		t.expel, t.majority = max(t.expel, expel), max(t.majority, majority)
		t.waits = t.waits || all[i]["group_replication_consistency"] != "EVENTUAL"
	}
	if !told {
		return t, fmt.Errorf("no server tells its settings: %w", errors.Join(errs...))
	}
	return t, nil
}

func seconds(fields map[string]string, name string) (time.Duration, error) {
	n, err := strconv.ParseUint(fields[name], 10, 31)
	if err != nil {
		return 0, fmt.Errorf("its %s is %q: is the plugin there?", name, fields[name])
	}
	return time.Duration(n) * time.Second, nil
}
