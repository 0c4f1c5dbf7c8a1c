package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/schedule"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

//go:embed templates/*.tmpl assets/*
var files embed.FS

// pages are the templates, and what they need besides.
type pages struct {
	of      map[string]*template.Template
	assets  map[string][]byte // by name
	version string            // of the assets: it is part of their address
}

func newPages() (p pages, err error) {
	p.of = map[string]*template.Template{}
	names, err := fs.Glob(files, "templates/*.html.tmpl")
	if err != nil {
		return p, err
	}
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html.tmpl")
		if name == "layout" {
			continue
		}
		p.of[name], err = template.New("layout.html.tmpl").Funcs(functions()).ParseFS(files, "templates/layout.html.tmpl", file)
		if err != nil {
			return p, fmt.Errorf("parse the page %s: %w", name, err)
		}
	}
	own, err := files.ReadFile("assets/web.css")
	if err != nil {
		return p, err
	}
	p.assets = map[string][]byte{
		"style.css": append([]byte(reports.CSS()), own...),
		"report.js": []byte(reports.Script()),
	}
	if p.assets["live.js"], err = files.ReadFile("assets/live.js"); err != nil {
		return p, err
	}
	sum := sha256.New()
	for _, name := range []string{"style.css", "report.js", "live.js"} {
		sum.Write(p.assets[name])
	}
	p.version = hex.EncodeToString(sum.Sum(nil)[:8])
	return p, nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		"when":  func(t time.Time) string { return t.Local().Format("2006-01-02 15:04") },
		"exact": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"upper": func(v any) string { return strings.ToUpper(fmt.Sprint(v)) },
		"class": verdictClass,
		"state": firingClass,
		"wall":  func(local string) string { return strings.Replace(local, "T", " ", 1) },
		"took":  func(d time.Duration) string { return d.Round(time.Second).String() },
	}
}

// verdictClass is the style of a verdict's pill.
func verdictClass(v verdict.Verdict) string {
	switch v {
	case verdict.Pass:
		return "met"
	case verdict.Fail:
		return "missed"
	case verdict.Inconclusive, verdict.Invalid:
		return "unproven"
	}
	return "reported"
}

// firingClass is the style of what became of a firing. That a drill was done says
// nothing of its verdict.
func firingClass(st schedule.State) string {
	switch st {
	case schedule.Failed, schedule.Lost:
		return "missed"
	case schedule.Missed, schedule.Late, schedule.Refused, schedule.Held:
		return "unproven"
	}
	return "reported"
}

// A view is what every page is made from.
type view struct {
	Title   string
	Path    string
	Assets  string
	Version string
	Who     person
	Form    string // of the session, for its forms
	Tokens  bool   // somebody could sign in
	Report  bool   // the page holds a report, which has a script
	Body    any
}

// show writes a page, whole or not at all.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, name, title string, body any) {
	v := view{Title: title, Path: r.URL.Path, Assets: "/assets/" + s.pages.version, Version: s.c.Version, Who: whoAsks(r), Body: body}
	_, v.Report = body.(reportView)
	if v.Who.session != "" {
		v.Form = s.sessions.formToken(v.Who.session)
	}
	tokens, err := s.tokens.read()
	v.Tokens = err == nil && len(tokens) > 0
	var b bytes.Buffer
	if err := s.pages.of[name].Execute(&b, v); err != nil {
		fmt.Fprintf(s.c.Log, "dapple: page %s: %v\n", r.URL.Path, err)
		http.Error(w, "This page could not be made: see the log of dapple serve.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // who asked is gone if not
	}
}

// fail tells in words what is wrong.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, why string) {
	s.show(w, r, status, "fail", http.StatusText(status), why)
}

// broken tells of an error of ours: the whole of it to the log, and that it is so to
// who asked.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, r.Context().Err()) && r.Context().Err() != nil {
		return // nobody waits for it any more
	}
	fmt.Fprintf(s.c.Log, "dapple: %s: %v\n", r.URL.Path, err)
	s.fail(w, r, http.StatusInternalServerError, "This could not be read: "+err.Error())
}

// asset answers what pages need. Its address changes with its content.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	data, ok := s.pages.assets[r.PathValue("file")]
	if !ok || r.PathValue("version") != s.pages.version {
		s.fail(w, r, http.StatusNotFound, "There is no such file.")
		return
	}
	kind := "text/css; charset=utf-8"
	if strings.HasSuffix(r.PathValue("file"), ".js") {
		kind = "text/javascript; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
