package reports

import (
	"bytes"
	"cmp"
	_ "embed" // the template of the checklist
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/drills/checklist"
)

//go:embed checklist.html.tmpl
var checklistTemplate string

// A ChecklistFormat is a way to write a checklist.
type ChecklistFormat struct {
	Name  string
	Write func(io.Writer, *checklist.Checklist) error
}

// ChecklistFormats lists them; each is a pure function of the checklist.
func ChecklistFormats() []ChecklistFormat {
	return []ChecklistFormat{
		{"text", checklistText}, {"html", checklistHTML}, {"md", checklistMarkdown}, {"csv", checklistCSV}, {"json", checklistJSON},
	}
}

func checklistJSON(w io.Writer, c *checklist.Checklist) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("writing the checklist: %w", err)
	}
	return nil
}

// checklistCSV writes a line for every part of every item, every failure mode and
// every person, so that a spreadsheet can filter them.
func checklistCSV(w io.Writer, c *checklist.Checklist) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"quarter", "section", "system", "what", "part", "state", "why", "run", "date", "sha256"}}
	row := func(section, system, what, part, state, why string, p *checklist.Proof) {
		r := []string{c.Quarter, section, system, what, part, state, why, "", "", ""}
		if p != nil {
			r[7], r[8], r[9] = p.Run, p.Date.UTC().Format(time.RFC3339), p.SHA256
		}
		for i := range r {
			r[i] = plainCell(r[i])
		}
		rows = append(rows, r)
	}
	for _, s := range c.Systems {
		for _, item := range s.Items {
			for _, p := range item.Parts {
				row("item", s.Name, fmt.Sprintf("%d %s", item.N, item.Name), p.Name, string(p.State), p.Why, p.Proof)
			}
		}
	}
	for _, m := range c.Modes {
		for _, cell := range m.Cells {
			row("failure mode", cell.System, m.Mode, "", cell.State, "", cell.Proof)
		}
	}
	for _, p := range c.People {
		row("person", strings.Join(p.OnCall, " "), p.Name, "", string(p.State), p.Why, p.Proof)
	}
	for i := range c.Open {
		o := &c.Open[i]
		row("open finding", o.System, o.Objective, "", string(checklist.Failed), "wanted "+o.Want+", got "+o.Got, &o.Proof)
	}
	if err := errors.Join(out.WriteAll(rows), out.Error()); err != nil {
		return fmt.Errorf("writing the checklist: %w", err)
	}
	return nil
}

// plainCell keeps a spreadsheet from taking a name for a formula.
func plainCell(s string) string {
	s = strings.ReplaceAll(clean(s), nbsp, " ")
	if s != "" && strings.ContainsRune("=+-@\t", rune(s[0])) {
		return "'" + s
	}
	return s
}

func checklistText(w io.Writer, c *checklist.Checklist) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Checklist %s (%s to %s), from %d records\n", c.Quarter, c.From.Format(time.DateOnly), c.Until.AddDate(0, 0, -1).Format(time.DateOnly), c.Records)
	for _, s := range c.Systems {
		fmt.Fprintf(&b, "\n%s (%s, %s)\n", clean(s.Name), clean(s.Kind), orText(s.Environment, "environment not declared"))
		for _, item := range s.Items {
			fmt.Fprintf(&b, "  %-8s %d %s\n", item.State, item.N, item.Name)
			for _, p := range item.Parts {
				fmt.Fprintf(&b, "           %-8s %s: %s%s\n", p.State, clean(p.Name), clean(p.Why), proofText(p.Proof))
			}
		}
	}
	if len(c.Systems) > 0 {
		b.WriteString("\nFailure modes\n")
	}
	for _, m := range c.Modes {
		var cells []string
		for _, cell := range m.Cells {
			cells = append(cells, clean(cell.System)+" "+cellText(cell))
		}
		fmt.Fprintf(&b, "  %-42s %s\n", m.Mode, strings.Join(cells, "; "))
	}
	if len(c.People) > 0 {
		b.WriteString("\nPeople\n")
	}
	for _, p := range c.People {
		fmt.Fprintf(&b, "  %-8s %s: %s%s\n", p.State, clean(p.Name), clean(p.Why), proofText(p.Proof))
	}
	if len(c.Open) > 0 {
		b.WriteString("\nOpen findings\n")
	}
	for i := range c.Open {
		o := &c.Open[i]
		fmt.Fprintf(&b, "  %s, %s: wanted %s, got %s%s\n", clean(o.System), clean(o.Objective), clean(o.Want), clean(o.Got), proofText(&o.Proof))
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\nnote: %s\n", clean(n))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func proofText(p *checklist.Proof) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf(" [%s %s %s]", clean(p.Run), p.Date.UTC().Format(time.DateOnly), shortSHA(p.SHA256))
}

func shortSHA(sha string) string { return sha[:min(12, len(sha))] }

func cellText(c checklist.Cell) string {
	if c.Proof == nil {
		return c.State
	}
	return c.State + " " + strconv.Itoa(c.AgeDays) + " d ago"
}

func checklistMarkdown(w io.Writer, c *checklist.Checklist) error {
	m := &mdWriter{}
	m.line("# Checklist ", c.Quarter)
	m.line("")
	m.line("From ", c.From.Format(time.DateOnly), " to ", c.Until.AddDate(0, 0, -1).Format(time.DateOnly), "; made ", c.Made.Format("2006-01-02 15:04"), " UTC by ", md(c.By), " from ", strconv.Itoa(c.Records), " records.")
	for _, s := range c.Systems {
		m.line("")
		m.line("## ", md(s.Name))
		var rows [][]string
		for _, item := range s.Items {
			rows = append(rows, []string{strconv.Itoa(item.N), "**" + item.Name + "**", "**" + string(item.State) + "**", "", ""})
			for _, p := range item.Parts {
				rows = append(rows, []string{"", md(p.Name), string(p.State), md(p.Why), mdProof(p.Proof)})
			}
		}
		m.table([]string{"", "Item", "State", "Why", "Proof"}, rows)
	}
	m.line("")
	m.line("## Failure modes")
	head := []string{"Failure"}
	for _, s := range c.Systems {
		head = append(head, md(s.Name))
	}
	var rows [][]string
	for _, mode := range c.Modes {
		r := []string{mode.Mode}
		for _, cell := range mode.Cells {
			r = append(r, cellText(cell))
		}
		rows = append(rows, r)
	}
	m.table(head, rows)
	if len(c.People) > 0 {
		m.line("")
		m.line("## People")
		rows = nil
		for _, p := range c.People {
			rows = append(rows, []string{md(p.Name), md(p.Contact), md(strings.Join(p.OnCall, ", ")), string(p.State), md(p.Why), mdProof(p.Proof)})
		}
		m.table([]string{"Name", "Contact", "On call for", "State", "Why", "Proof"}, rows)
	}
	m.line("")
	m.line("## Open findings")
	m.line("")
	if len(c.Open) == 0 {
		m.line("None.")
	}
	for i := range c.Open {
		o := &c.Open[i]
		m.line("* ", md(o.System), ", ", md(o.Objective), ": wanted ", md(o.Want), ", got ", md(o.Got), " (", mdProof(&o.Proof), ")")
	}
	for _, n := range c.Notes {
		m.line("")
		m.line("> ", md(n))
	}
	if _, err := io.WriteString(w, m.b.String()); err != nil {
		return fmt.Errorf("writing the checklist: %w", err)
	}
	return nil
}

func mdProof(p *checklist.Proof) string {
	if p == nil {
		return ""
	}
	return code(p.Run) + ", " + p.Date.UTC().Format(time.DateOnly) + ", " + code(shortSHA(p.SHA256))
}

// checklistHTML writes one self-contained page in the style of the report's.
func checklistHTML(w io.Writer, c *checklist.Checklist) error { return checklistPart(w, "", c) }

// ChecklistMain writes what is within the page's main element, for who has a page
// of their own around it, with the style of CSS.
func ChecklistMain(w io.Writer, c *checklist.Checklist) error { return checklistPart(w, mainPart, c) }

func checklistPart(w io.Writer, part string, c *checklist.Checklist) error {
	return writeTemplate(w, "checklist", part, checklistTemplate, struct {
		*checklist.Checklist
		CSS template.CSS
	}{c, template.CSS(pageCSS)}) //nolint:gosec // our own file
}

// mainPart is what a template calls the content of its main element.
const mainPart = "main"

// writeTemplate writes a page, or the part of it that is named, only if it is whole.
func writeTemplate(w io.Writer, name, part, text string, data any) error {
	t, err := template.New(name).Funcs(template.FuncMap{
		"day":   func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"short": shortSHA,
		"cell":  func(c checklist.Cell) string { return cellText(c) },
		"class": stateClass,
		"join":  func(s []string) string { return strings.Join(s, ", ") },
		"last":  func(t time.Time) string { return t.AddDate(0, 0, -1).Format(time.DateOnly) },
	}).Parse(text)
	if err != nil {
		return fmt.Errorf("parsing the template of the %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, cmp.Or(part, name), data); err != nil {
		return fmt.Errorf("writing the %s: %w", name, err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the %s: %w", name, err)
	}
	return nil
}

// stateClass is the style of a state's pill: p-met, p-missed and so on.
func stateClass(state any) string {
	switch fmt.Sprint(state) {
	case string(checklist.Met), checklist.CellPassed:
		return "met"
	case string(checklist.Failed): // and checklist.CellFailed
		return "missed"
	case string(checklist.Overdue), checklist.CellUnproven:
		return "unproven"
	}
	return "reported"
}
