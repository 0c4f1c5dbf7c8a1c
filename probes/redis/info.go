package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// What a server calls itself in INFO and ROLE.
const (
	saysPrimary = "master"
	saysReplica = "slave"
)

// An info is what a server says of itself (INFO server, INFO replication).
type info struct {
	runID   string // of the process
	version string
	engine  string // redis or valkey
	replication
}

// A replication is what a server says of how it replicates.
type replication struct {
	role     string // saysPrimary or saysReplica
	replid   string // of the history that it is on
	offset   int64  // in it
	before   string // the history from which this one went off; zeros if none
	left     int64  // the first offset of that which is not in this one; -1 if none
	replicas int    // that are connected
	primary  string // host:port of who it follows
	linkUp   bool
	syncing  bool // a whole copy is under way
}

// info asks in one round trip.
func (c *conn) info(ctx context.Context) (info, error) {
	replies, err := c.pipeline(ctx, command{"INFO", "server"}, command{"INFO", "replication"})
	if err != nil {
		return info{}, err
	}
	var text [2]string
	for i, r := range replies {
		if text[i], err = redigo.String(r, nil); err != nil {
			return info{}, said(r, err)
		}
	}
	return parseInfo(text[0], text[1])
}

// said is the error that a reply is, or else why it is not what was expected.
func said(reply any, err error) error {
	if e, is := reply.(redigo.Error); is {
		return e
	}
	return err
}

func parseInfo(server, repl string) (info, error) {
	f := fields(server)
	i := info{runID: f["run_id"], version: f["redis_version"], engine: "redis"}
	if v := f["valkey_version"]; v != "" {
		i.engine, i.version = "valkey", v
	}
	if i.runID == "" {
		return i, errors.New("INFO server tells no run_id")
	}
	var err error
	i.replication, err = parseReplication(repl)
	return i, err
}

func parseReplication(text string) (replication, error) {
	f := fields(text)
	r := replication{
		role: f["role"], replid: f["master_replid"], before: f["master_replid2"],
		linkUp: f["master_link_status"] == "up", syncing: f["master_sync_in_progress"] == "1", left: -1,
	}
	if r.role != saysPrimary && r.role != saysReplica {
		return r, fmt.Errorf("INFO replication tells the role %q", r.role)
	}
	if r.replid == "" {
		return r, errors.New("INFO replication tells no master_replid: servers before Redis 4 are not known here")
	}
	if r.role == saysReplica {
		r.primary = f["master_host"] + ":" + f["master_port"]
	}
	numbers := map[string]*int64{"master_repl_offset": &r.offset, "second_repl_offset": &r.left}
	if r.role == saysReplica {
		// What it has applied; what it has received may be more.
		numbers["slave_repl_offset"] = &r.offset
		delete(numbers, "master_repl_offset")
	}
	for name, into := range numbers {
		if f[name] == "" {
			continue
		}
		n, err := strconv.ParseInt(f[name], 10, 64)
		if err != nil {
			return r, fmt.Errorf("INFO replication: %s is %q", name, f[name])
		}
		*into = n
	}
	n, err := strconv.ParseUint(f["connected_slaves"], 10, 31)
	if err != nil {
		return r, fmt.Errorf("INFO replication: connected_slaves is %q", f["connected_slaves"])
	}
	r.replicas = int(n)
	return r, nil
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if ok && !strings.HasPrefix(name, "#") {
			all[name] = value
		}
	}
	return all
}

// pairs reads a reply of name, value, name, value.
func pairs(reply any) (map[string]string, error) {
	return redigo.StringMap(reply, nil)
}
