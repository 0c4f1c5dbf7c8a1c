package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/ci"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/library"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// A named scenario is a file that "run" is to drill.
type namedScenario struct {
	name string // as it is opened and reported
	id   string // below the folder that was named, or the name: its run directory and its shard
}

// found is what the arguments of "run" mean.
type foundScenarios struct {
	files   []namedScenario
	several bool // a folder, or more than one file
}

// findScenarios resolves files, folders and names of the library. Of a folder,
// those are taken that are scenarios, at any depth, in the order of their names;
// system files and others are passed over.
func findScenarios(names []string) (found foundScenarios, err error) {
	found.several = len(names) > 1
	for _, name := range names {
		info, err := os.Stat(name)
		var some []namedScenario
		switch {
		case err == nil && info.IsDir():
			found.several = true
			some, err = inFolder(os.DirFS(name), name)
		case errors.Is(err, fs.ErrNotExist) && isLibraryFolder(name):
			found.several = true
			some, err = inFolder(library.FS, name)
		default:
			some, err = []namedScenario{{name, filepath.ToSlash(name)}}, nil
		}
		if err != nil {
			return found, usage(err)
		}
		found.files = append(found.files, some...)
	}
	return found, nil
}

// isLibraryFolder says whether a name is a folder of the library, such as etcd.
func isLibraryFolder(name string) bool {
	info, err := fs.Stat(library.FS, libraryPath(name))
	return name != "" && err == nil && info.IsDir()
}

func libraryPath(name string) string {
	short := strings.TrimPrefix(path.Clean(filepath.ToSlash(name))+"/", library.Root)
	return cmp.Or(strings.TrimSuffix(short, "/"), ".")
}

func inFolder(tree fs.FS, name string) (some []namedScenario, err error) {
	root, open := ".", func(p string) string { return filepath.Join(name, filepath.FromSlash(p)) }
	if tree == library.FS {
		root = libraryPath(name)
		open = func(p string) string { return library.Root + p }
	}
	err = fs.WalkDir(tree, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" && path.Ext(p) != ".yml" {
			return err
		}
		data, err := fs.ReadFile(tree, p)
		if err == nil && scenarios.Sniff(data) == scenarios.IsScenario {
			some = append(some, namedScenario{open(p), p})
		}
		return err
	})
	if err == nil && len(some) == 0 {
		err = diag.Hint(fmt.Errorf("the folder %s holds no scenario", name), "a scenario is a .yaml file that has steps")
	}
	return some, err
}

// parseShard reads I/N.
func parseShard(s string) (i, n int, err error) {
	a, b, ok := strings.Cut(s, "/")
	i, erri := strconv.Atoi(a)
	n, errn := strconv.Atoi(b)
	if !ok || erri != nil || errn != nil || i < 1 || i > n {
		return 0, 0, usage(diag.Hint(fmt.Errorf("--shard %s: want I/N, with I from 1 to N", s), "such as 1/4 in the first of four jobs"))
	}
	return i, n, nil
}

// shard keeps the files of part i of n. A file's part depends on its name alone,
// so that a new file moves no other.
func shard(files []namedScenario, i, n int) []namedScenario {
	return slices.DeleteFunc(slices.Clone(files), func(f namedScenario) bool {
		h := fnv.New32a()
		_, _ = h.Write([]byte(f.id)) // never fails
		return int(h.Sum32()%uint32(n)) != i-1
	})
}

// runMany drills one scenario after the other. Every file is read before the
// first fault is made.
func runMany(ctx context.Context, g *globals, io stdio, f drillFlags, files []namedScenario, job *ci.Job) error {
	if err := formatsOfMany(f.formats); err != nil {
		return err
	}
	if f.shard != "" {
		i, n, err := parseShard(f.shard)
		if err != nil {
			return err
		}
		files = shard(files, i, n)
	}
	m := many{g: g, io: io, f: f, job: job}
	if err := m.load(files); err != nil {
		return err
	}
	if err := m.out(); err != nil {
		return err
	}
	if m.f.seed == 0 {
		m.f.seed = rand.Int64()
	}
	m.drill(ctx)
	return m.finish()
}

// formatsOfMany refuses a format that shows one run only.
func formatsOfMany(formats []string) error {
	for _, s := range formats {
		kind, _, _ := strings.Cut(s, "=")
		f, err := reports.Find(kind)
		if err == nil && f.All == nil {
			err = diag.Hint(fmt.Errorf("--format %s shows one run, and there are several", kind), "each run directory holds one; see --out")
		}
		if err != nil {
			return usage(err)
		}
	}
	return nil
}

// many is several drills.
type many struct {
	g     *globals
	io    stdio
	f     drillFlags
	job   *ci.Job
	todo  []todo
	batch reports.Batch
}

// todo is a scenario that was read, or why it is left out.
type todo struct {
	namedScenario
	files   drillFiles
	skipped string
}

// load reads every file, and tells all mistakes of all of them.
func (m *many) load(files []namedScenario) error {
	var problems error
	for _, s := range files {
		f := m.f
		f.scenario = s.name
		t := todo{namedScenario: s}
		d, err := readFiles(f)
		if err == nil {
			t.skipped = d.unfit()
		}
		t.files = d
		problems = diag.Append(problems, err)
		m.todo = append(m.todo, t)
	}
	return usage(problems)
}

// out makes the folder of the run directories, if one was asked for.
func (m *many) out() error {
	if m.f.out == "" {
		return nil
	}
	_, err := runDir(m.f, "")
	return err
}

// drill runs them in order. What is left in place, and an interruption, end it.
func (m *many) drill(ctx context.Context) {
	stop := ""
	for i, t := range m.todo {
		e := reports.Entry{Scenario: t.name, Skipped: t.skipped}
		if e.Skipped == "" && stop != "" {
			e.Err, e.Code = stop, exitAborted
		}
		if e.Skipped == "" && e.Err == "" {
			e = m.one(ctx, i, t)
		}
		m.batch = append(m.batch, e)
		switch {
		case e.Code == exitLeft:
			stop = "not begun: an earlier drill left something in place"
		case ctx.Err() != nil:
			stop = "not begun: interrupted"
		}
	}
}

// one is one drill of them.
func (m *many) one(ctx context.Context, i int, t todo) reports.Entry {
	f := m.f
	f.scenario = t.name
	if f.out != "" {
		f.out = filepath.Join(f.out, slug(strings.TrimSuffix(t.id, path.Ext(t.id))))
	}
	m.job.Open(fmt.Sprintf("dapple %d/%d: %s on %s", i+1, len(m.todo), t.files.scenario.Name, f.on))
	defer m.job.Close()
	fmt.Fprintf(progress(m.g, m.io), "%d/%d  %s\n", i+1, len(m.todo), t.name)
	run, err := drillOnce(ctx, m.g, m.io, f, t.files)
	if unfit := new(unfitError); errors.As(err, &unfit) && err.Error() == refuse(unfit).Error() { // and nothing else went wrong
		return reports.Entry{Scenario: t.name, Skipped: unfit.why}
	}
	e := reports.Entry{Scenario: t.name, Run: run, Code: codeOrPass(err)}
	if err != nil && !errors.Is(err, errSaid) {
		e.Err = strings.Join(append([]string{err.Error()}, diag.Hints(err)...), "; ")
	}
	return e
}

// finish tells what they came to, and is the one exit code.
func (m *many) finish() error {
	code := exitPass
	drilled := false
	for _, e := range m.batch {
		drilled = drilled || e.Skipped == ""
		if diag.Graver(e.Code, code) < 0 {
			code = e.Code
		}
	}
	annotate := !slices.ContainsFunc(m.f.formats, func(s string) bool { return s == "github" || strings.HasPrefix(s, "github=") })
	err := errors.Join(m.show(), m.job.Done(m.batch, outputs(m.batch, code), annotate))
	if err == nil && !drilled && len(m.batch) > 0 && m.f.shard == "" {
		return refuse(errors.New("no scenario fits the system: see the reasons above"))
	}
	return errors.Join(err, exit(code))
}

// show prints the table, or what was asked for instead.
func (m *many) show() error {
	if m.f.asJSON {
		return json.NewEncoder(m.io.out).Encode(m.entries())
	}
	toStdout := false
	for _, format := range m.f.formats {
		kind, file, toFile := strings.Cut(format, "=")
		toStdout = toStdout || !toFile
		f, err := reports.Find(kind)
		if err != nil {
			return usage(err)
		}
		if err := writeTo(m.io.out, file, kind, func(w io.Writer) error { return f.All(w, m.batch) }); err != nil {
			return err
		}
	}
	if toStdout {
		return nil
	}
	return m.batch.TextTable(m.io.out, paint(m.io.out))
}

// entryJSON is an element of the list of --json.
type entryJSON struct {
	Scenario string `json:"scenario"`
	ExitCode int    `json:"exit_code"`
	Skipped  string `json:"skipped,omitempty"`
	Error    string `json:"error,omitempty"`
	Dir      string `json:"dir,omitempty"`
	Record   any    `json:"record,omitempty"`
}

func (m *many) entries() []entryJSON {
	out := []entryJSON{}
	for _, e := range m.batch {
		j := entryJSON{Scenario: e.Scenario, ExitCode: e.Code, Skipped: e.Skipped, Error: e.Err}
		if e.Run != nil {
			j.Dir, j.Record = e.Run.Dir, e.Run.Record
		}
		out = append(out, j)
	}
	return out
}

// unfit is why the scenario is not for the system, or "".
func (d drillFiles) unfit() string {
	want := d.scenario.Requires.Kind
	kind := ""
	if d.system != nil {
		kind = d.system.Kind
	}
	for _, c := range testcluster.Names() {
		if d.cluster != "" && c.Name == d.cluster {
			kind = c.Kind
		}
	}
	if len(want) == 0 || slices.Contains(want, kind) {
		return ""
	}
	return fmt.Sprintf("it requires the kind %s, and the system is of kind %s", strings.Join(want, " or "), kind)
}
