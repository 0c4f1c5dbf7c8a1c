package history

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/dapple-drills/dapple/internal/durable"
)

// ChainSchema is the format of the chain file.
const ChainSchema = "dapple.chain/v1"

// A Chain is the file in which every record of a home stands in the order in
// which it was kept, each with the hash of the line before:
//
//	{"schema":"dapple.chain/v1","origin":"db-3-5d1f…","made":"…"}
//	{"n":1,"run":"01m8…","files":{"record.json":"…"},"prev":"<sha256 of the line above>"}
//	{"n":2,"run":"01m9…","files":{"record.json":"…"},"prev":"<sha256 of the line above>"}
//
// It is only ever appended to, and survives the database. Whoever changes,
// removes or inserts a line breaks every later one. Whoever writes the file anew
// from that line on is found out by whatever kept a hash of a later line: the
// database, and each signed checklist.
type Chain struct {
	path string
}

// A Head is the first line of a chain.
type Head struct {
	Schema string    `json:"schema"`
	Origin string    `json:"origin"` // of this machine and home, unlike any other
	Made   time.Time `json:"made"`
}

// How a record came into the chain.
const (
	ByDrill  = "drill"   // by the drill that made it, when it ended
	ByHand   = "hand"    // by a person, later: `dapple list --add`
	ByAdding = "adopted" // it was there before the chain was
)

// A Link is one line of a chain: a record and its other files.
type Link struct {
	N      int               `json:"n"` // 1 for the first record
	Run    string            `json:"run"`
	Dir    string            `json:"dir"` // below the home, with slashes
	Files  map[string]string `json:"files"`
	Record string            `json:"-"` // of record.json
	Added  time.Time         `json:"added"`
	How    string            `json:"how"`
	By     string            `json:"by,omitempty"`
	Prev   string            `json:"prev"` // sha256 of the line before
	Hash   string            `json:"-"`    // sha256 of this line
}

// ChainFile is the chain of a home.
func ChainFile(home string) Chain { return Chain{filepath.Join(home, "chain.jsonl")} }

// A line is what is known of a line without reading it: enough to compare.
type line struct {
	raw  []byte
	hash string
}

// lines splits the file. A last line without its end was cut short by a crash
// before anybody was told that it is there: it does not count.
func (c Chain) lines() ([]line, error) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the chain: %w", err)
	}
	var out []line
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return out, nil
		}
		out = append(out, line{data[:end], sum(data[:end])})
		data = data[end+1:]
	}
}

// Read returns the links in order, and what is wrong with them: a line that is
// not what the next one says of it. A chain that is not there has no links.
func (c Chain) Read() (head Head, links []Link, broken []string, err error) {
	ls, err := c.lines()
	if err != nil || len(ls) == 0 {
		return head, nil, nil, err
	}
	if head, err = readHead(ls[0]); err != nil {
		return head, nil, nil, fmt.Errorf("read the chain %s: %w", c.path, err)
	}
	for i, l := range ls[1:] {
		link, err := readLink(l)
		if err != nil {
			broken = append(broken, fmt.Sprintf("line %d cannot be read: %v", i+2, err))
			continue
		}
		if link.Prev != ls[i].hash {
			broken = append(broken, fmt.Sprintf("line %d (run %s) does not follow from the line before it: that one was changed, or lines were removed or inserted between them", i+2, link.Run))
		}
		if link.N != i+1 {
			broken = append(broken, fmt.Sprintf("line %d (run %s) says that it is number %d, and it is number %d", i+2, link.Run, link.N, i+1))
		}
		links = append(links, link)
	}
	return head, links, broken, nil
}

func readHead(l line) (h Head, err error) {
	if err := json.Unmarshal(l.raw, &h); err != nil {
		return h, fmt.Errorf("its first line: %w", err)
	}
	if h.Schema != ChainSchema || h.Origin == "" {
		return h, fmt.Errorf("its first line says the schema %q, and this dapple reads %q", h.Schema, ChainSchema)
	}
	return h, nil
}

func readLink(l line) (Link, error) {
	var k Link
	if err := json.Unmarshal(l.raw, &k); err != nil {
		return k, err
	}
	k.Hash, k.Record = l.hash, k.Files[recordFile]
	return k, nil
}

// append adds links, durably, and returns them with their numbers and hashes. A
// run that is there already is passed over.
func (c Chain) append(ctx context.Context, add []Link) (head Head, added []Link, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return head, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	ls, err := c.lines()
	if err != nil {
		return head, nil, err
	}
	var fresh bytes.Buffer
	if len(ls) == 0 {
		head = Head{ChainSchema, origin(), time.Now().UTC()}
		ls = append(ls, encode(&fresh, head))
	} else if head, err = readHead(ls[0]); err != nil {
		return head, nil, fmt.Errorf("add to the chain %s: %w", c.path, err)
	}
	there := map[string]bool{}
	for _, l := range ls[1:] {
		if k, err := readLink(l); err == nil {
			there[k.Run] = true
		}
	}
	for _, k := range add {
		if there[k.Run] {
			continue
		}
		there[k.Run] = true
		k.N, k.Prev = len(ls), ls[len(ls)-1].hash
		l := encode(&fresh, k)
		k.Hash, k.Record = l.hash, k.Files[recordFile]
		ls, added = append(ls, l), append(added, k)
	}
	return head, added, c.write(ls, fresh.Bytes())
}

// write appends fresh after what is whole of the file, and syncs it.
func (c Chain) write(all []line, fresh []byte) (err error) {
	if len(fresh) == 0 {
		return nil
	}
	end := int64(-len(fresh))
	for _, l := range all {
		end += int64(len(l.raw)) + 1
	}
	if end == 0 {
		if err := durable.WriteFile(c.path, fresh, 0o600); err != nil {
			return fmt.Errorf("begin the chain: %w", err)
		}
		return nil
	}
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("add to the chain: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(end); err != nil { // a line that a crash cut short
		return fmt.Errorf("add to the chain: %w", err)
	}
	if _, err := f.WriteAt(fresh, end); err != nil {
		// What is half there has no end of line, or is complete: both are read right.
		return fmt.Errorf("add to the chain: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("add to the chain: %w", err)
	}
	return nil
}

// lock keeps other processes from appending meanwhile.
func (c Chain) lock(ctx context.Context) (unlock func() error, err error) {
	if err := durable.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return nil, fmt.Errorf("lock the chain: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, busy)
	defer cancel()
	l := flock.New(c.path+".lock", flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock the chain %s: another dapple has held it for %v: %w", c.path, busy, err)
	}
	return l.Close, nil
}

func encode(w *bytes.Buffer, v any) line {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("dapple: internal error: " + err.Error()) // strings, numbers and times
	}
	w.Write(raw)
	w.WriteByte('\n')
	return line{raw, sum(raw)}
}

// origin names this machine's chain like no other.
func origin() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "dapple"
	}
	return strings.ToLower(host) + "-" + strings.ToLower(rand.Text()[:10])
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
