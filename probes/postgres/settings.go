package postgres

import (
	"context"
	"fmt"
)

// settingsQuery asks for what decides how long a failover takes, what it may
// lose, and how long a dead peer goes unnoticed; as this session's user has it.
var settingsQuery = &statement{name: "dapple_settings", sql: `select name, current_setting(name) from pg_settings where name in (
	'synchronous_commit', 'synchronous_standby_names', 'wal_level', 'hot_standby', 'fsync', 'full_page_writes', 'wal_log_hints',
	'data_checksums', 'max_connections', 'superuser_reserved_connections', 'tcp_keepalives_idle', 'tcp_keepalives_interval',
	'tcp_keepalives_count', 'tcp_user_timeout', 'wal_sender_timeout', 'wal_receiver_timeout', 'wal_receiver_status_interval',
	'wal_retrieve_retry_interval', 'recovery_min_apply_delay', 'client_connection_check_interval', 'restart_after_crash',
	'statement_timeout', 'idle_session_timeout', 'checkpoint_timeout', 'max_wal_size', 'archive_mode') order by name`}

var versionQuery = &statement{name: "dapple_version", sql: `select current_setting('server_version')`}

// Settings returns what the present primary runs with. The notes name what
// weakens an acknowledgement.
func (s *System) Settings(ctx context.Context) (effective map[string]string, notes []string, err error) {
	p, _, err := s.findPrimary(ctx)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.askPrimary(ctx, p)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the settings: %w", err)
	}
	effective = make(map[string]string, len(rows))
	for _, r := range rows {
		effective[r[0]] = r[1]
	}
	return effective, s.weak(effective), nil
}

// askPrimary asks p, or if p is nil where the clients' DSN leads.
func (s *System) askPrimary(ctx context.Context, p *place) (rows [][]string, err error) {
	if p != nil {
		return s.ask(ctx, p, settingsQuery)
	}
	c, err := s.endpoint.open(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	own := *settingsQuery
	o := c.exec(ctx, &own, func(v [][]byte) { rows = append(rows, texts(v)) })
	return rows, o.failure()
}

func (s *System) weak(e map[string]string) (notes []string) {
	if e["fsync"] == "off" {
		notes = append(notes, "fsync off: an acknowledged write need not survive a crash of the machine")
	}
	if e["full_page_writes"] == "off" {
		notes = append(notes, "full_page_writes off: a crash of the machine may tear pages")
	}
	if e["wal_log_hints"] == "off" && e["data_checksums"] == "off" {
		notes = append(notes, "neither wal_log_hints nor data checksums: pg_rewind is not possible, a failed primary needs a full copy to rejoin")
	}
	if !s.synchronous {
		return notes
	}
	if why := weakness(e["synchronous_commit"], e["synchronous_standby_names"] != ""); why != "" {
		notes = append(notes, "declared synchronous, effective: "+why)
	}
	return notes
}

// Versions asks each node that answers; nodes that differ from the first are
// named.
func (s *System) Versions(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	places := s.all()
	said, errs := make([]string, len(places)), make([]error, len(places))
	each(places, func(i int, p *place) {
		rows, err := s.ask(ctx, p, versionQuery)
		if err == nil && len(rows) == 1 {
			said[i] = rows[0][0]
		}
		errs[i] = err
	})
	versions := map[string]string{}
	for i, v := range said {
		switch {
		case v == "":
		case versions["postgresql"] == "":
			versions["postgresql"] = v
		case versions["postgresql"] != v:
			versions["postgresql on "+places[i].node.Name()] = v
		}
	}
	if len(versions) == 0 && len(places) > 0 {
		return nil, fmt.Errorf("asking %s for its version: %w", places[0].node.Name(), errs[0])
	}
	return versions, nil
}
