package reports

import (
	_ "embed" // the page's template, style and script
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html.tmpl
var pageTemplate string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// CSS is the style of all pages.
func CSS() string { return pageCSS }

// Script is that of a report's page: niceties only.
func Script() string { return pageJS }

// HTML writes one self-contained page: no request leaves it, it works without
// its script, in light and dark, on a phone and on paper.
func HTML(w io.Writer, r Run) error { return pagePart(w, "page", r) }

// Main writes what is within the page's main element, for who has a page of their
// own around it, with CSS and Script.
func Main(w io.Writer, r Run) error { return pagePart(w, mainPart, r) }

func pagePart(w io.Writer, part string, r Run) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parsing the page's template: %w", err)
	}
	p := newPage(&r)
	p.CSS, p.JS = template.CSS(pageCSS), template.JS(pageJS) //nolint:gosec // our own files
	if err := t.ExecuteTemplate(w, part, p); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
