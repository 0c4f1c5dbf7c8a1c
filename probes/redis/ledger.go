package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/targets"
)

// The ledger is lists: one per client and chunk of ids, so that what one answer
// holds is bounded. An entry is appended, never changed, and one that is written
// twice is there twice.
const root = "dapple:"

func key(run string, client int, seq uint64) string {
	return fmt.Sprintf("%s%s:%d:%d", root, run, client, seq>>probes.ChunkBits)
}

// entry is what is appended: the id, and when it was sent.
func entry(w probes.Write) string {
	return strconv.FormatUint(w.Seq, 10) + " " + strconv.FormatInt(int64(w.Sent), 10)
}

// parseKey is the inverse of key.
func parseKey(run, k string) (probes.Chunk, error) {
	rest, ok := strings.CutPrefix(k, root+run+":")
	client, no, cut := strings.Cut(rest, ":")
	c, err1 := strconv.Atoi(client)
	n, err2 := strconv.ParseUint(no, 10, 64-probes.ChunkBits)
	if err := errors.Join(err1, err2); err != nil || !ok || !cut || c < 0 || k != key(run, c, n<<probes.ChunkBits) {
		return probes.Chunk{}, fmt.Errorf("%q is not a key of run %s", k, run)
	}
	return probes.Chunk{Client: c, No: n}, nil
}

// parseEntry is the inverse of entry.
func parseEntry(text string) (seq uint64, sent time.Duration, err error) {
	a, b, ok := strings.Cut(text, " ")
	seq, err1 := strconv.ParseUint(a, 10, 64)
	ns, err2 := strconv.ParseInt(b, 10, 64)
	if err := errors.Join(err1, err2); err != nil || !ok {
		return 0, 0, fmt.Errorf("%q is no entry of the ledger", text)
	}
	return seq, time.Duration(ns), nil
}

// Prepare has nothing to make; it refuses a run whose keys could not be told from
// another's.
func (s *System) Prepare(_ context.Context, run string) error {
	bad := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
	}
	if run == "" || strings.ContainsFunc(run, bad) {
		return fmt.Errorf("run %q cannot be part of a key: want letters, digits, _ and -", run)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[run] = true
	return nil
}

// Clean deletes the run's lists.
func (s *System) Clean(ctx context.Context, run string) error {
	if err := s.Prepare(ctx, run); err != nil {
		return err
	}
	err := s.via(ctx, nil, func(ctx context.Context, c *conn) error {
		keys, err := c.keys(ctx, run)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(keys, page) {
			if _, err := c.do(ctx, append([]string{"UNLINK"}, some...)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("deleting the lists %s%s:…: %w", root, run, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, run)
	return nil
}

// via does something over a connection of its own, to n or, if n is nil, by the
// client endpoint.
func (s *System) via(ctx context.Context, n targets.Node, do func(context.Context, *conn) error) error {
	x, err := s.open(ctx, probes.Where{Node: n})
	if err != nil {
		return because(ctx, err)
	}
	defer x.c.close()
	return do(ctx, x.c)
}

const (
	// tryFor bounds one attempt of Ready, retryAfter is the pause between two.
	tryFor     = 3 * time.Second
	retryAfter = 50 * time.Millisecond
)

// Ready writes w and reads it back, until that succeeds on the present primary.
func (s *System) Ready(ctx context.Context, w probes.Write) error {
	for {
		err := s.barrier(ctx, w)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("appending to a list and reading it back: %w: %w", context.Cause(ctx), err)
		case <-time.After(retryAfter):
		}
	}
}

// barrier appends the entry unless it is there. WATCH makes an earlier attempt
// whose fate is not known come to nothing if it arrives after this one: that began
// before the list changed.
func (s *System) barrier(ctx context.Context, w probes.Write) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return s.via(ctx, nil, func(ctx context.Context, c *conn) error {
		k, e := key(w.Run, w.Client, w.Seq), entry(w)
		there, err := c.pipeline(ctx, command{"WATCH", k}, command{"LPOS", k, e})
		if err != nil {
			return err
		}
		if bad, is := there[1].(redigo.Error); is {
			return bad
		}
		if there[1] == nil {
			replies, err := c.pipeline(ctx, command{"MULTI"}, command{"RPUSH", k, e}, command{"EXEC"})
			if err != nil {
				return err
			}
			if err := firstRefusal(replies); err != nil {
				return err
			}
		}
		at, err := c.do(ctx, "LPOS", k, e)
		if err == nil && at == nil {
			err = fmt.Errorf("the entry of %s is not there after it was acknowledged", k)
		}
		return err
	})
}

func firstRefusal(replies []any) error {
	for _, r := range replies {
		if bad, is := r.(redigo.Error); is {
			return bad
		}
	}
	return nil
}

// Digests reads the run's lists, of the present primary or of n as it is.
func (s *System) Digests(ctx context.Context, n targets.Node, run string) ([]probes.Digest, error) {
	var all []probes.Digest
	err := s.via(ctx, n, func(ctx context.Context, c *conn) error {
		keys, err := c.keys(ctx, run)
		if err != nil {
			return err
		}
		for _, k := range keys {
			d, err := c.digest(ctx, run, k)
			if err != nil {
				return err
			}
			if d.Count > 0 {
				all = append(all, d)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the lists %s%s:…: %w", root, run, err)
	}
	slices.SortFunc(all, func(a, b probes.Digest) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.No, b.No))
	})
	return all, nil
}

func (c *conn) digest(ctx context.Context, run, k string) (d probes.Digest, err error) {
	if d.Chunk, err = parseKey(run, k); err != nil {
		return d, err
	}
	err = c.entries(ctx, k, func(seq uint64) {
		if d.Count == 0 {
			d.Min, d.Max = seq, seq
		}
		d.Min, d.Max = min(d.Min, seq), max(d.Max, seq)
		d.Count++
		d.Hash ^= probes.HashID(seq)
	})
	return d, err
}

// IDs reads the list of one chunk.
func (s *System) IDs(ctx context.Context, n targets.Node, run string, chunk probes.Chunk, see func(seq uint64)) error {
	err := s.via(ctx, n, func(ctx context.Context, c *conn) error {
		return c.entries(ctx, key(run, chunk.Client, chunk.No<<probes.ChunkBits), see)
	})
	if err != nil {
		return fmt.Errorf("reading the list of client %d, chunk %d: %w", chunk.Client, chunk.No, err)
	}
	return nil
}

// page is how many entries, or keys, one command is about.
const page = 8192

// entries calls see for each entry of a list.
func (c *conn) entries(ctx context.Context, k string, see func(seq uint64)) error {
	for from := 0; ; from += page {
		some, err := redigo.Strings(c.do(ctx, "LRANGE", k, strconv.Itoa(from), strconv.Itoa(from+page-1)))
		if err != nil {
			return err
		}
		for _, e := range some {
			seq, _, err := parseEntry(e)
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			see(seq)
		}
		if len(some) < page {
			return nil
		}
	}
}

// keys are the keys of a run. SCAN goes through all keys of the database: of a
// million it takes about a second, and holds nobody up.
func (c *conn) keys(ctx context.Context, run string) ([]string, error) {
	there := map[string]bool{}
	for cursor := "0"; ; {
		both, err := redigo.Values(c.do(ctx, "SCAN", cursor, "MATCH", root+run+":*", "COUNT", "1000"))
		if err != nil {
			return nil, err
		}
		if len(both) != 2 {
			return nil, fmt.Errorf("SCAN: %d parts, want a cursor and keys", len(both))
		}
		if cursor, err = redigo.String(both[0], nil); err != nil {
			return nil, fmt.Errorf("SCAN: the cursor: %w", err)
		}
		some, err := redigo.Strings(both[1], nil)
		if err != nil {
			return nil, fmt.Errorf("SCAN: the keys: %w", err)
		}
		for _, k := range some {
			there[k] = true // SCAN may give one twice
		}
		if cursor == "0" {
			break
		}
	}
	keys := make([]string, 0, len(there))
	for k := range there {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys, nil
}
