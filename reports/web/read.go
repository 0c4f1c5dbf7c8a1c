package web

import (
	"bytes"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

// html is what package reports has written: its templates escape what is not ours.
type html = template.HTML

func rendered(write func(io.Writer) error) (html, error) {
	var b bytes.Buffer
	err := write(&b)
	return html(b.String()), err //nolint:gosec // see html
}

// A listed run is a line of the history.
type listed struct {
	Ref      string // in its address; "" if it is on another machine
	Run      string
	Started  time.Time
	Took     time.Duration
	System   string
	Scenario string
	Verdict  verdict.Verdict
	Reason   string
	Operator string
	Trials   int
	Proven   bool // it is in the chain of records
}

func list(runs []history.Run) []listed {
	out := make([]listed, 0, len(runs))
	for i := range runs {
		r := &runs[i]
		l := listed{Run: r.Run, Started: r.Started, System: r.System, Scenario: r.Scenario, Verdict: r.Verdict,
			Reason: r.Digest.Reason, Operator: r.Operator, Trials: r.Trials, Proven: r.Link.N > 0}
		if r.Dir != "" {
			l.Ref = filepath.Base(r.Dir)
		}
		if r.Finished.After(r.Started) {
			l.Took = r.Finished.Sub(r.Started)
		}
		out = append(out, l)
	}
	return out
}

// known are the runs of the home, newest first, that have ended.
type known struct {
	runs   []history.Run
	broken []history.Broken
	notes  []string
}

func (s *Server) runs(r *http.Request) (known, error) {
	return once(&s.answers, "runs", func() (k known, err error) {
		k.runs, k.broken, k.notes, err = s.c.Source.Runs(r.Context())
		k.runs = slices.DeleteFunc(k.runs, func(r history.Run) bool { return r.Finished.IsZero() })
		return k, err
	})
}

// perPage is how many runs are shown at a time.
const perPage = 50

type historyView struct {
	Runs             []listed
	Broken           []history.Broken
	Notes            []string
	Systems          []string
	System, Verdict  string
	Verdicts         []verdict.Verdict
	All, From, Until int
	Newer, Older     string // addresses; "" if there are none
}

// history lists the runs, by system and verdict.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	k, err := s.runs(r)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	q := r.URL.Query()
	v := historyView{Broken: k.broken, Notes: k.notes, System: q.Get("system"), Verdict: q.Get("verdict"), Systems: systems(k.runs),
		Verdicts: []verdict.Verdict{verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Invalid, verdict.Aborted}}
	chosen := slices.DeleteFunc(slices.Clone(k.runs), func(r history.Run) bool {
		return v.System != "" && r.System != v.System || v.Verdict != "" && string(r.Verdict) != v.Verdict
	})
	page, err := strconv.Atoi(q.Get("page"))
	if last := max(0, len(chosen)-1) / perPage; err != nil || page < 0 {
		page = 0
	} else {
		page = min(page, last)
	}
	v.All, v.From, v.Until = len(chosen), page*perPage, min(len(chosen), (page+1)*perPage)
	v.Runs = list(chosen[v.From:v.Until])
	at := func(page int) string {
		q := url.Values{"page": {strconv.Itoa(page)}}
		if v.System != "" {
			q.Set("system", v.System)
		}
		if v.Verdict != "" {
			q.Set("verdict", v.Verdict)
		}
		return "/history?" + q.Encode()
	}
	if page > 0 {
		v.Newer = at(page - 1)
	}
	if v.Until < v.All {
		v.Older = at(page + 1)
	}
	s.show(w, r, http.StatusOK, "history", "History", v)
}

// systems are the names of all systems that were drilled.
func systems(runs []history.Run) []string {
	var names []string
	for i := range runs {
		names = append(names, runs[i].System)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type trendsView struct {
	Systems, Metrics []string
	System, Metric   string
	Main             html
}

// trends shows how metrics changed, of one system or of all.
func (s *Server) trends(w http.ResponseWriter, r *http.Request) {
	k, err := s.runs(r)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	q := r.URL.Query()
	v := trendsView{Systems: systems(k.runs), Metrics: []string{"rto", "detection", "outage", "election", "promotion", "routing", "fence_lag", "rejoin", "redundancy"},
		System: q.Get("system"), Metric: "rto"}
	if q.Has("metric") {
		v.Metric = q.Get("metric")
	}
	v.Main, err = once(&s.answers, "trends "+v.System+" "+v.Metric, func() (html, error) {
		t, err := s.c.Source.Trends(r.Context(), history.Query{System: v.System}, v.Metric)
		if err != nil {
			return "", err
		}
		return rendered(func(w io.Writer) error { return reports.TrendMain(w, t) })
	})
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "trends", "Trends", v)
}

type checklistView struct {
	Quarter        string
	Earlier, Later string
	Main           html
}

// checklist shows the seven items of a quarter.
func (s *Server) checklist(w http.ResponseWriter, r *http.Request) {
	now := checklist.QuarterOf(time.Now())
	quarter := now
	if name := r.URL.Query().Get("quarter"); name != "" {
		var err error
		if quarter, err = checklist.ParseQuarter(name); err != nil || quarter.From().After(time.Now()) {
			s.fail(w, r, http.StatusBadRequest, "That is no quarter that has begun: one is written like "+now.String()+".")
			return
		}
	}
	v := checklistView{Quarter: quarter.String(), Earlier: checklist.QuarterOf(quarter.From().AddDate(0, 0, -1)).String()}
	if quarter != now {
		v.Later = checklist.QuarterOf(quarter.Until()).String()
	}
	var err error
	v.Main, err = once(&s.answers, "checklist "+v.Quarter, func() (html, error) {
		c, err := s.c.Source.Checklist(r.Context(), v.Quarter)
		if err != nil {
			return "", err
		}
		return rendered(func(w io.Writer) error { return reports.ChecklistMain(w, c) })
	})
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "checklist", "Checklist "+v.Quarter, v)
}

// maxAudit is how many entries are shown.
const maxAudit = 200

// auditPage shows who did what.
func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) {
	entries, err := readAudit(s.c.Home, maxAudit)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "audit", "Audit log", entries)
}
