// Package journal keeps on disk, per machine, which faults may be in effect and
// how to take them back, from before a fault is made until it was seen to be
// gone. It is the last of the four layers of ending: what is in it survives the
// death of the runner, of the agent and of the machine.
//
// It also holds the lock by which at most one drill runs on a system at a time.
//
// It reverts nothing itself and knows no injector; see package agent.
package journal

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/targets"
)

// Schema is the format of a record. A reader refuses what it does not know, so
// that it can never undo by guessing.
const Schema = "dapple.journal/v1"

// A Record says that a fault may be in effect.
type Record struct {
	Schema string          `json:"schema"`
	ID     string          `json:"id"`       // the file's name, set by Write; sorts by age
	Key    string          `json:"key"`      // the fault's name in the drill
	Boot   string          `json:"boot"`     // boot id of the machine when it was made
	Drill  string          `json:"drill"`    // id of the run
	System string          `json:"system"`   // name of the system under drill
	Agent  targets.ProcID  `json:"agent"`    // who holds the fault
	Runner targets.ProcID  `json:"runner"`   // for whom
	Lease  time.Duration   `json:"lease_ns"` // for how long without being renewed
	Time   string          `json:"time"`     // RFC 3339, for people; nothing rests on it
	Node   targets.Spec    `json:"node"`     // where it lands, enough to open the node again
	Fault  injectors.Fault `json:"fault"`    // all that Revert needs
}

// A Journal is a directory with one file for each fault that may be in effect.
// Several processes may use one directory at the same time.
type Journal struct{ dir string }

// Open opens the journal in dir, and makes the directory if it is not there.
func Open(dir string) (*Journal, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	return &Journal{dir}, nil
}

// Dir is where the journal is.
func (j *Journal) Dir() string { return j.dir }

// Write records r. Once it returns nil, the record survives a crash of the
// machine, so that the fault may be made.
func (j *Journal) Write(r Record) (id string, err error) {
	if r.ID, err = j.newID(); err != nil {
		return "", err
	}
	r.Schema = Schema
	if r.Time == "" {
		r.Time = time.Now().Format(time.RFC3339Nano)
	}
	data, err := seal(r)
	if err != nil {
		return "", fmt.Errorf("recording fault %s: %w", r.Key, err)
	}
	if err := durable.WriteFile(j.path(r.ID), data, 0o600); err != nil {
		return "", fmt.Errorf("recording fault %s: %w", r.Key, err)
	}
	return r.ID, nil
}

// Clear forgets the record, durably. Call it once the fault was seen to be gone.
// A record that is not there is no error.
func (j *Journal) Clear(id string) error {
	if id == "" || id != filepath.Base(id) {
		return fmt.Errorf("clearing a fault: %q is no name of a record", id)
	}
	return durable.Remove(j.path(id))
}

// Outstanding returns the records that are not cleared, oldest first, and the
// names of files that are torn: their faults were never made, because Write did
// not return before them.
func (j *Journal) Outstanding() (records []Record, torn []string, err error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the journal: %w", err)
	}
	for _, e := range entries { // ReadDir sorts by name, hence by age
		id, is := strings.CutSuffix(e.Name(), suffix)
		if !is || durable.IsTemp(e.Name()) {
			continue
		}
		data, err := os.ReadFile(j.path(id))
		if errors.Is(err, fs.ErrNotExist) {
			continue // cleared meanwhile
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the journal: %w", err)
		}
		r, err := open(data)
		switch {
		case errors.Is(err, errTorn):
			torn = append(torn, id)
		case err != nil:
			return nil, nil, fmt.Errorf("reading %s: %w", j.path(id), err)
		default:
			r.ID = id
			records = append(records, r)
		}
	}
	return records, torn, nil
}

const (
	prefix = "fault-"
	suffix = ".json"
)

func (j *Journal) path(id string) string { return filepath.Join(j.dir, id+suffix) }

// newID returns a name that sorts after all that are there. It is a count and not
// a time, because clocks step, by our own hand too; the random end keeps two
// agents that count at the same moment apart.
func (j *Journal) newID() (string, error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return "", fmt.Errorf("reading the journal: %w", err)
	}
	last := slices.MaxFunc(append(entries, nil), func(a, b os.DirEntry) int { return cmp.Compare(count(a), count(b)) })
	return fmt.Sprintf("%s%08d-%s", prefix, count(last)+1, strings.ToLower(rand.Text()[:8])), nil
}

func count(e os.DirEntry) (n int) {
	if e == nil {
		return 0
	}
	if _, err := fmt.Sscanf(e.Name(), prefix+"%d-", &n); err != nil {
		return 0 // not a record
	}
	return n
}

// A sealed record is its JSON and a line with the checksum of it: a file system
// may keep the length of a file and lose its pages.
const sumLine = "\nsha256:"

var errTorn = errors.New("torn")

func seal(r Record) ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return append(data, sumLine+hex.EncodeToString(sum[:])+"\n"...), nil
}

func open(data []byte) (r Record, err error) {
	at := bytes.LastIndex(data, []byte(sumLine))
	if at < 0 {
		return r, errTorn
	}
	sum := sha256.Sum256(data[:at])
	if string(data[at+len(sumLine):]) != hex.EncodeToString(sum[:])+"\n" {
		return r, errTorn
	}
	if err := json.Unmarshal(data[:at], &r); err != nil {
		return r, fmt.Errorf("a complete record that is no JSON: %w", err)
	}
	if r.Schema != Schema {
		return r, fmt.Errorf("its format is %q, this dapple knows %q: revert it with the version that made it", r.Schema, Schema)
	}
	return r, nil
}
