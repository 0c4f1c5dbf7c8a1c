package web

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/reports"
)

// errNoRun is that of a run which is not there.
var errNoRun = errors.New("there is no such run")

// errTraining is that of a run whose fault is hidden from a trainee.
var errTraining = errors.New("a training is on")

// openRun opens the directory of a run, which is named by its id, or as the
// directory is. Nothing outside of it can be reached through it, whatever its name
// is and wherever a link in it leads.
func (s *Server) openRun(name string) (dir *os.Root, base string, err error) {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") || !filepath.IsLocal(name) {
		return nil, "", errNoRun
	}
	runs, err := os.OpenRoot(filepath.Join(s.c.Home, "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", errNoRun
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, runs.Close()) }()
	items, err := fs.ReadDir(runs.FS(), ".")
	if err != nil {
		return nil, "", err
	}
	base = ""
	for _, item := range items {
		if item.IsDir() && !durable.IsTemp(item.Name()) && (item.Name() == name || strings.HasPrefix(item.Name(), name+"-")) {
			base = item.Name()
			if base == name {
				break
			}
		}
	}
	if base == "" {
		return nil, "", errNoRun
	}
	if dir, err = runs.OpenRoot(base); err != nil {
		return nil, "", err
	}
	if _, err := dir.Stat(training.AccessFile); err == nil { // it lies there as long as the training goes on
		return nil, "", errors.Join(errTraining, dir.Close())
	}
	return dir, base, nil
}

// readRecord reads the record of a run that may still be going on.
func readRecord(dir *os.Root) (drills.Record, error) {
	data, err := dir.ReadFile(reports.RecordFile)
	if err != nil {
		return drills.Record{}, err
	}
	return drills.ParseRecord(data)
}

// A reportView is a finished run.
type reportView struct {
	Run   string
	Files []string
	Main  html
}

// run shows a run: while it goes on, what is known of it; then its report.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	dir, base, err := s.openRun(r.PathValue("run"))
	if err != nil {
		s.noRun(w, r, err)
		return
	}
	defer dir.Close() //nolint:errcheck // it was only read
	rec, err := readRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fail(w, r, http.StatusNotFound, "This drill has no record yet: it is getting ready, or was ended before it began. Nothing was injected so far.")
		return
	case err != nil:
		s.broken(w, r, fmt.Errorf("run %s: %w", base, err))
		return
	case rec.Finished.IsZero():
		s.unfinished(w, r, base)
		return
	}
	report, err := once(&s.answers, "run "+base, func() (reportView, error) { return report(dir, base) })
	if err != nil {
		s.broken(w, r, fmt.Errorf("run %s: %w", base, err))
		return
	}
	s.show(w, r, http.StatusOK, "report", rec.Drill.Name+" on "+rec.System.Name, report)
}

func report(dir *os.Root, base string) (v reportView, err error) {
	run, err := reports.LoadFrom(dir.FS(), base)
	if err != nil {
		return v, err
	}
	v.Run = base
	if v.Main, err = rendered(func(w io.Writer) error { return reports.Main(w, run) }); err != nil {
		return v, err
	}
	for _, name := range runFiles() {
		if info, err := dir.Stat(name); err == nil && info.Mode().IsRegular() {
			v.Files = append(v.Files, name)
		}
	}
	return v, nil
}

// runFiles are what of a run's directory may be had. The others say more of the
// system than a reader needs.
func runFiles() []string {
	return []string{"report.html", "report.md", "junit.xml", reports.RecordFile, reports.TimelineFile, "scenario.yaml"}
}

// file hands out a file of a run; it is never shown as a page of ours.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if !slices.Contains(runFiles(), name) {
		s.fail(w, r, http.StatusNotFound, "There is no such file.")
		return
	}
	dir, base, err := s.openRun(r.PathValue("run"))
	if err != nil {
		s.noRun(w, r, err)
		return
	}
	defer dir.Close() //nolint:errcheck // it was only read
	f, err := dir.Open(name)
	if err != nil {
		s.fail(w, r, http.StatusNotFound, "This run has no such file.")
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		s.fail(w, r, http.StatusNotFound, "This run has no such file.")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", base+"-"+name))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func (s *Server) noRun(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errTraining) {
		s.fail(w, r, http.StatusForbidden, "A training is on. What was done to the system is told to nobody until it is over; the first page can stop it.")
		return
	}
	if errors.Is(err, errNoRun) {
		s.fail(w, r, http.StatusNotFound, "There is no such run in this home.")
		return
	}
	s.broken(w, r, err)
}
