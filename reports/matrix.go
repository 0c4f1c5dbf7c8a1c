package reports

import (
	_ "embed" // the template of a matrix
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/dapple-drills/dapple/drills/matrix"
)

//go:embed matrix.html.tmpl
var matrixTemplate string

// MatrixJSON writes the comparison of designs for a program.
func MatrixJSON(w io.Writer, m matrix.Matrix) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}

// matrixRow is a row in words.
type matrixRow struct {
	System, Design, Write string
	Cells                 []matrixCell
}

type matrixCell struct{ Scenario, Verdict, Detection, RTO, Loss, Split, Why, Run string }

func matrixRows(m matrix.Matrix) (rows []matrixRow) {
	for _, r := range m.Rows {
		d := r.Design
		row := matrixRow{System: r.System, Design: joinDesign(d.Pattern, d.Detection, d.State, d.Recovery), Write: "not measured"}
		if r.Write != nil {
			row.Write = fmt.Sprintf("%s, p99 %s", duration(r.Write.P50), duration(r.Write.P99))
		}
		for i, c := range r.Cells {
			row.Cells = append(row.Cells, matrixWords(m.Scenarios[i], c))
		}
		rows = append(rows, row)
	}
	return rows
}

func joinDesign(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return orText(strings.Join(said, ", "), "design not declared")
}

func matrixWords(scenario string, c matrix.Cell) matrixCell {
	w := matrixCell{Scenario: scenario, Verdict: orText(string(c.Verdict), "not drilled"), Why: c.Why, Run: c.Run,
		Detection: sweepFigure(c.Detection), RTO: sweepFigure(c.RTO), Loss: "not audited", Split: "not proven absent"}
	if c.Lost != nil {
		w.Loss = plural(*c.Lost, "write")
		if *c.Lost > 0 && c.RPOMaxMS != nil {
			w.Loss += " (up to " + duration(*c.RPOMaxMS) + ")"
		}
	}
	switch {
	case c.SplitBrain > 0:
		w.Split = fmt.Sprintf("L%d", c.SplitBrain)
	case c.Absent:
		w.Split = "none"
	}
	return w
}

// MatrixText writes it for a terminal: a block for each system.
func MatrixText(w io.Writer, m matrix.Matrix) error {
	var b strings.Builder
	for _, r := range matrixRows(m) {
		fmt.Fprintf(&b, "%s: %s; a write takes %s\n", clean(r.System), clean(r.Design), r.Write)
		for _, c := range r.Cells {
			fmt.Fprintf(&b, "  %-28s %-13s detection %s, outage %s, lost %s, split-brain %s", clean(c.Scenario), c.Verdict, c.Detection, c.RTO, c.Loss, c.Split)
			if c.Why != "" && c.Verdict != "pass" {
				b.WriteString(" — " + clean(c.Why))
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// MatrixHTML writes it as one self-contained page.
func MatrixHTML(w io.Writer, m matrix.Matrix) error {
	return writeTemplate(w, "matrix", "", matrixTemplate, struct {
		Scenarios []string
		Rows      []matrixRow
		CSS       template.CSS
	}{m.Scenarios, matrixRows(m), template.CSS(pageCSS)}) //nolint:gosec // our own file
}
