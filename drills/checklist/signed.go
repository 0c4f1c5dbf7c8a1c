package checklist

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/internal/seal"
)

// PredicateType names what is signed: a Checklist.
const PredicateType = "https://github.com/dapple-drills/dapple/checklist/v1"

// recordPrefix begins the name of a subject that is a record, not a file beside
// the envelope.
const recordPrefix = "runs/"

// Sign signs the checklist, the files that were written of it, by their names, and
// the records that it names.
func Sign(ctx context.Context, key seal.Key, c *Checklist, files map[string][]byte) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("sign the checklist: %w", err)
	}
	s := seal.Statement{PredicateType: PredicateType, Predicate: body}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		s.Subject = append(s.Subject, subject(name, shaOf(files[name])))
	}
	for _, p := range c.Proofs() {
		s.Subject = append(s.Subject, subject(recordPrefix+p.Run+"/record.json", p.SHA256))
	}
	return key.Sign(ctx, s)
}

func subject(name, sha string) seal.Subject {
	return seal.Subject{Name: name, Digest: map[string]string{"sha256": sha}}
}

func shaOf(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// A Verified says what was found of a signed checklist. It holds if Broken is
// empty.
type Verified struct {
	Checklist Checklist `json:"-"`
	Quarter   string    `json:"quarter"`
	Key       string    `json:"key"`
	Files     int       `json:"files"`   // beside the envelope, that are as they were signed
	Records   int       `json:"records"` // of this home, likewise
	Broken    []string  `json:"broken"`
	Notes     []string  `json:"notes"`
}

// Verify opens the signed checklist at path with one of the keys, and compares the
// files beside it, the records of home, and the chain of home with what was signed.
// The error wraps seal.ErrUnknownKey if nothing can be said.
func Verify(ctx context.Context, home, path string, keys []seal.PublicKey) (v Verified, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return v, fmt.Errorf("read the signed checklist: %w", err)
	}
	s, key, err := seal.Open(ctx, data, keys)
	if err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	if s.PredicateType != PredicateType {
		return v, fmt.Errorf("%s: what was signed is %q, and no checklist", path, s.PredicateType)
	}
	if err := json.Unmarshal(s.Predicate, &v.Checklist); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	v.Quarter, v.Key, v.Broken, v.Notes = v.Checklist.Quarter, key, []string{}, []string{}
	_, links, _, err := history.ChainFile(home).Read()
	if err != nil {
		return v, err
	}
	holds, known, err := history.ChainFile(home).Holds(v.Checklist.Anchor)
	if err != nil {
		return v, err
	}
	switch {
	case !known:
		v.Notes = append(v.Notes, "the chain of records to which it refers ("+v.Checklist.Anchor.Origin+") is not that of this home: what is not here was not compared")
	case !holds:
		v.Broken = append(v.Broken, "the chain of records does not go through the line to which the checklist refers: it was written anew or cut short since")
	}
	byRun := map[string]history.Link{}
	for _, k := range links {
		byRun[k.Run] = k
	}
	for _, sub := range s.Subject {
		if run, ok := strings.CutPrefix(sub.Name, recordPrefix); ok {
			v.record(home, strings.TrimSuffix(run, "/record.json"), sub.Digest["sha256"], byRun, known)
			continue
		}
		v.file(filepath.Join(filepath.Dir(path), filepath.Base(sub.Name)), sub.Digest["sha256"])
	}
	return v, nil
}

// record compares one record that the checklist names.
func (v *Verified) record(home, run, want string, links map[string]history.Link, ours bool) {
	k, there := links[run]
	if !there {
		if ours {
			v.Notes = append(v.Notes, "run "+run+" is a record of another machine: it was not compared")
		}
		return
	}
	data, err := os.ReadFile(filepath.Join(home, filepath.FromSlash(k.Dir), "record.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.Broken = append(v.Broken, "run "+run+" was removed")
	case err != nil:
		v.Broken = append(v.Broken, fmt.Sprintf("run %s cannot be read: %v", run, err))
	case shaOf(data) != want:
		v.Broken = append(v.Broken, fmt.Sprintf("run %s was changed since: its sha256 is %s, and was %s", run, shaOf(data), want))
	default:
		v.Records++
	}
}

// file compares a file that was written with the envelope.
func (v *Verified) file(path, want string) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.Notes = append(v.Notes, path+" is not there: it was not compared")
	case err != nil:
		v.Broken = append(v.Broken, fmt.Sprintf("%s cannot be read: %v", path, err))
	case shaOf(data) != want:
		v.Broken = append(v.Broken, path+" was changed since it was signed")
	default:
		v.Files++
	}
}
