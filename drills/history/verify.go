package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dapple-drills/dapple/drills"
)

// A Verified says whether records are what they were when they were kept. It holds
// if Broken is empty.
type Verified struct {
	Origin string   `json:"origin"`
	Links  int      `json:"links"` // that were followed
	Files  int      `json:"files"` // that were hashed
	Head   string   `json:"head"`  // the hash of the last line: all before it hangs on it
	Broken []string `json:"broken"`
	// Notes are what is no breach, and is worth knowing: runs that are in no chain
	// and prove nothing, records that came into it by hand.
	Notes []string `json:"notes"`
}

// Verify follows the whole chain of home, hashes every file of every record, and
// looks for runs that no chain knows. It needs no database; where there is one that
// can be read, it is a second witness of the chain (see Witness).
func Verify(ctx context.Context, home string) (v Verified, err error) {
	head, links, broken, err := ChainFile(home).Read()
	if err != nil {
		return v, err
	}
	v = Verified{Origin: head.Origin, Links: len(links), Broken: broken}
	known := map[string]string{}
	for _, k := range links {
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		v.Head = k.Hash
		known[filepath.FromSlash(k.Dir)] = k.Run
		v.record(home, k)
	}
	return v, v.strangers(home, known)
}

// VerifyRun does the same for one run directory.
func VerifyRun(home, dir string) (v Verified, err error) {
	head, links, broken, err := ChainFile(home).Read()
	if err != nil {
		return v, err
	}
	v = Verified{Origin: head.Origin, Broken: broken}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return v, err
	}
	for _, k := range links {
		v.Head = k.Hash
		if filepath.Join(home, filepath.FromSlash(k.Dir)) == abs {
			v.Links = 1
			v.record(home, k)
		}
	}
	if v.Links == 0 {
		v.Broken = append(v.Broken, fmt.Sprintf("%s is not in the chain of %s: nobody can say whether it is as it was", dir, home))
	}
	return v, nil
}

// Unchanged compares the record in dir with the hash that the chain has of it; nil
// if it is the same, or if dir is "": on another machine, where this cannot be seen.
func Unchanged(dir, sha string) error {
	if dir == "" {
		return nil
	}
	now, err := hashFile(filepath.Join(dir, recordFile))
	if err != nil {
		return fmt.Errorf("its record cannot be read: %w", err)
	}
	if now != sha {
		return fmt.Errorf("its record was changed since it was kept: its sha256 is %s, and was %s", now, sha)
	}
	return nil
}

// record compares the files of a link with what it says of them.
func (v *Verified) record(home string, k Link) {
	dir := filepath.Join(home, filepath.FromSlash(k.Dir))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		v.Broken = append(v.Broken, fmt.Sprintf("run %s was removed: %s is not there", k.Run, dir))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(k.Files)) {
		v.Files++
		sha, err := hashFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			v.Broken = append(v.Broken, fmt.Sprintf("run %s: %s was removed", k.Run, name))
		case err != nil:
			v.Broken = append(v.Broken, fmt.Sprintf("run %s: %s cannot be read: %v", k.Run, name, err))
		case sha != k.Files[name]:
			v.Broken = append(v.Broken, fmt.Sprintf("run %s: %s was changed: its sha256 is %s, and was %s", k.Run, name, sha, k.Files[name]))
		}
	}
	switch k.How {
	case ByHand:
		v.Notes = append(v.Notes, fmt.Sprintf("run %s was added by hand, by %s, at %s", k.Run, k.By, k.Added.Format("2006-01-02 15:04")))
	case ByAdding:
		v.Notes = append(v.Notes, fmt.Sprintf("run %s was there before the chain, which vouches for it since %s", k.Run, k.Added.Format("2006-01-02 15:04")))
	}
}

// strangers finds the run directories that the chain does not know: inserted, or
// left by a dapple that was killed.
func (v *Verified) strangers(home string, known map[string]string) error {
	items, err := os.ReadDir(filepath.Join(home, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for runs that the chain does not know: %w", err)
	}
	for _, item := range items {
		rel := filepath.Join("runs", item.Name())
		if !item.IsDir() || known[rel] != "" {
			continue
		}
		dir := filepath.Join(home, rel)
		rec, err := drills.ReadRecord(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// no run
		case err != nil:
			v.Notes = append(v.Notes, fmt.Sprintf("%s cannot be read, is not in the chain, and proves nothing: %v", dir, err))
		case rec.Finished.IsZero():
			v.Notes = append(v.Notes, fmt.Sprintf("run %s never came to its end, or is still running: it proves nothing", rec.Run))
		default:
			v.Broken = append(v.Broken, fmt.Sprintf("run %s was inserted: no drill of this home has kept it (%s); if you know where it comes from, `dapple list --add %s`", rec.Run, dir, rec.Run))
		}
	}
	return nil
}

// Witness compares the chain with what the database remembers of it: whoever
// writes the chain anew has to find and change that, too.
func (x *Index) Witness(ctx context.Context) (broken []string, err error) {
	head, links, _, err := ChainFile(x.home).Read()
	if err != nil {
		return nil, err
	}
	which, args := "", []any{}
	if x.postgres { // which others share
		which, args = ` WHERE origin = ?`, []any{head.Origin}
	}
	rows, err := x.db.QueryContext(ctx, x.q(`SELECT run, origin, link_n, link_hash FROM runs`+which+` ORDER BY link_n`), args...)
	if err != nil {
		return nil, asDatabaseError(x.name(), err)
	}
	defer func() { err = asDatabaseError(x.name(), errors.Join(err, rows.Close())) }()
	byN := map[int]Link{}
	for _, k := range links {
		byN[k.N] = k
	}
	for rows.Next() {
		var run, origin, hash string
		var n int
		if err := rows.Scan(&run, &origin, &n, &hash); err != nil {
			return nil, err
		}
		switch k, there := byN[n]; {
		case origin != head.Origin:
			broken = append(broken, fmt.Sprintf("the database knows run %s from the chain %s, which is gone or was replaced", run, origin))
		case !there:
			broken = append(broken, fmt.Sprintf("the database knows run %s as number %d of the chain, and the chain has no such line any more", run, n))
		case k.Hash != hash:
			broken = append(broken, fmt.Sprintf("the database knows line %d of the chain (run %s) with another hash: the chain was written anew", n+1, run))
		}
	}
	return broken, rows.Err()
}

// An Anchor is the end of a chain, by which a signed page holds on to all before it.
type Anchor struct {
	Origin string `json:"origin"`
	N      int    `json:"n"`
	Hash   string `json:"hash"`
}

// Anchor is the present end of the chain of home; zero if there is no chain.
func (c Chain) Anchor() (a Anchor, err error) {
	ls, err := c.lines()
	if err != nil || len(ls) == 0 {
		return a, err
	}
	head, err := readHead(ls[0])
	if err != nil {
		return a, err
	}
	return Anchor{head.Origin, len(ls) - 1, ls[len(ls)-1].hash}, nil
}

// Holds says whether the chain still goes through the anchor; an anchor of another
// chain is not known here.
func (c Chain) Holds(a Anchor) (holds, known bool, err error) {
	ls, err := c.lines()
	if err != nil || len(ls) == 0 {
		return false, false, err
	}
	head, err := readHead(ls[0])
	if err != nil || head.Origin != a.Origin {
		return false, false, err
	}
	return a.N >= 0 && a.N < len(ls) && ls[a.N].hash == a.Hash, true, nil
}
