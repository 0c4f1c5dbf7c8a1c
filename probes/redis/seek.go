package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A sentinel is one of those that watch the system.
type sentinel struct {
	addr  string // host:port, as declared; "" if it is on the node of beside
	place *place // the node that it is on, where it is declared by that
	line  line   // for clients to ask
}

// listed are the Sentinels of the clients' DSN, or one on each node.
func (s *System) listed() []*sentinel {
	var all []*sentinel
	for _, addr := range s.client.sentinels {
		all = append(all, &sentinel{addr: addr, line: newLine()})
	}
	if len(all) > 0 {
		return all
	}
	for _, p := range s.places {
		all = append(all, &sentinel{place: p, line: newLine()})
	}
	return all
}

// where is the address of x, and the node that it is on, if it is on one.
func (s *System) where(ctx context.Context, x *sentinel) (string, *place, error) {
	if x.place != nil {
		host, err := x.place.address(ctx)
		return net.JoinHostPort(host, s.ports.sentinel), x.place, err
	}
	host, _, err := net.SplitHostPort(x.addr)
	return x.addr, s.at(host), err
}

// name is what x is called in events: its node, or its address.
func (s *System) name(x *sentinel) string {
	if x.place != nil {
		return x.place.node.Name()
	}
	host, port, err := net.SplitHostPort(x.addr)
	if err != nil {
		return x.addr
	}
	return s.called(host, port)
}

// An opinion is what a Sentinel takes for the present configuration.
type opinion struct {
	host, port string // of the primary
	epoch      uint64 // of the configuration: a failover raises it
	fields     map[string]string
}

// sentinelLogin is that of the Sentinels.
func (s *System) sentinelLogin() login {
	l := login{tls: s.tls}
	if slices.Contains([]string{"true", "yes", "on"}, strings.ToLower(s.bind.Extra["sentinel_auth"])) { // as YAML has it
		l.user, l.password = s.client.user, s.password
	}
	return l
}

// opinion asks a Sentinel. While it leads a failover it names the new primary
// (GET-MASTER-ADDR-BY-NAME) before it has switched to it (MASTER).
func (c *conn) opinion(ctx context.Context, service string) (o opinion, err error) {
	replies, err := c.pipeline(ctx,
		command{"SENTINEL", "GET-MASTER-ADDR-BY-NAME", service}, command{"SENTINEL", "MASTER", service})
	if err != nil {
		return o, err
	}
	if e, is := replies[1].(redigo.Error); is && strings.HasPrefix(string(e), "ERR No such master") {
		return o, fmt.Errorf("it watches nothing that is called %s: say the name after # in clients.dsn", service)
	}
	if o.fields, err = pairs(replies[1]); err != nil {
		return o, said(replies[1], err)
	}
	addr, err := redigo.Strings(replies[0], nil)
	if err != nil || len(addr) != 2 {
		return o, said(replies[0], fmt.Errorf("it names no primary of %s", service))
	}
	o.host, o.port = addr[0], addr[1]
	if o.epoch, err = strconv.ParseUint(o.fields["config-epoch"], 10, 64); err != nil {
		return o, fmt.Errorf("its config-epoch is %q", o.fields["config-epoch"])
	}
	return o, nil
}

// laggards is how long the rest of the Sentinels is waited for once a majority
// has answered.
const laggards = 20 * time.Millisecond

// longestSeek bounds a search for which no time was set.
const longestSeek = 5 * time.Second

// seek asks all Sentinels at once, as an application does that listens to all of
// them, and believes the newest configuration. It waits for a majority, or for
// half of the time that ctx leaves: an application that is cut off with a minority
// believes that.
func (s *System) seek(ctx context.Context) (opinion, error) {
	share := longestSeek
	if end, ok := ctx.Deadline(); ok {
		share = time.Until(end) / 2
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	var best opinion
	var errs []error
	found := 0
	enough := func() bool { return true } // stops the wait for the others, once it has begun
	defer func() { enough() }()
	for a := range s.opinions(ctx) {
		if a.err != nil {
			errs = append(errs, a.err)
			continue
		}
		if found == 0 || a.epoch > best.epoch {
			best = a.opinion
		}
		if found++; found == len(s.sentinels)/2+1 {
			enough = time.AfterFunc(laggards, cancel).Stop
		}
	}
	if found > 0 {
		return best, nil
	}
	if len(errs) == 0 {
		return best, errors.New("no Sentinel is declared")
	}
	return best, fmt.Errorf("no Sentinel names a primary: %w", errs[0])
}

type answer struct {
	opinion
	err error
}

// opinions asks all Sentinels; the channel is closed when each has answered or ctx
// has ended.
func (s *System) opinions(ctx context.Context) <-chan answer {
	out := make(chan answer, len(s.sentinels))
	var wg sync.WaitGroup
	for _, x := range s.sentinels {
		wg.Go(func() {
			var a answer
			a.err = x.line.ask(ctx, func(ctx context.Context) (*conn, error) {
				addr, _, err := s.where(ctx, x)
				if err != nil {
					return nil, err
				}
				return connect(ctx, addr, s.sentinelLogin(), (&net.Dialer{}).DialContext)
			}, func(ctx context.Context, c *conn) (err error) {
				a.opinion, err = c.opinion(ctx, s.client.service)
				return err
			})
			out <- a
		})
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}
