package pressure

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Params is what may stand under "with".
type Params struct {
	CPU    Cores `yaml:"cpu" json:"cpu,omitzero" jsonschema:"description=How much of its processors the node loses: a share of what it may use (90%) or a number of them (1.5)."`
	Memory Bytes `yaml:"memory" json:"memory,omitzero" jsonschema:"description=How much of its memory the node loses: a share of what it may use (80%) or a size (512MiB)."`
	By     By    `yaml:"by" json:"by,omitempty" jsonschema:"default=limit,enum=limit,enum=burner,description=limit: its control group allows it less. burner: a process in its control group uses them up."`
}

// By says what takes the resources.
type By string

const (
	// Limit lowers what the node's control group allows.
	Limit By = "limit"
	// Burner uses up the resources within the node's control group.
	Burner By = "burner"
)

// UnmarshalText reads a By.
func (b *By) UnmarshalText(text []byte) error {
	switch By(text) {
	case Limit, Burner:
		*b = By(text)
		return nil
	}
	return fmt.Errorf("pressure cannot be made by %q: use limit (the node's control group allows less) or burner (a process in it uses them up)", text)
}

// An amount is a number of something, or a share of all of it.
type amount struct {
	text  string // as it was given; "" if it was not
	n     float64
	share bool // n is per cent
}

func (a amount) String() string { return a.text }

// MarshalText writes it as it was given.
func (a amount) MarshalText() ([]byte, error) { return []byte(a.text), nil }

func (a amount) given() bool { return a.text != "" }

// of is how much of all it is.
func (a amount) of(all float64) float64 {
	if a.share {
		return all * a.n / 100
	}
	return a.n
}

// percent reads "90%". is says that it ends so.
func percent(text string) (a amount, is bool, err error) {
	digits, is := strings.CutSuffix(text, "%")
	if !is {
		return a, false, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	switch {
	case err != nil || math.IsNaN(n):
		return a, true, fmt.Errorf("%q is no share: use 1%% to 100%%", text)
	case n <= 0 || n > 100:
		return a, true, fmt.Errorf("%q: a share is above 0%%, and at most 100%%", text)
	}
	return amount{text, n, true}, true, nil
}

// Cores is a number of processors, or a share of them.
type Cores struct{ amount }

// UnmarshalText reads "90%" or "1.5".
func (c *Cores) UnmarshalText(data []byte) error {
	text := strings.TrimSpace(string(data))
	a, is, err := percent(text)
	if is {
		c.amount = a
		return err
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n <= 0 {
		return fmt.Errorf("%q is no number of processors: use a share (90%%) or a number above 0 (1.5)", text)
	}
	c.amount = amount{text, n, false}
	return nil
}

// Bytes is an amount of memory, or a share of it.
type Bytes struct{ amount }

// UnmarshalText reads "80%" or "512MiB".
func (b *Bytes) UnmarshalText(data []byte) error {
	text := strings.TrimSpace(string(data))
	a, is, err := percent(text)
	if is {
		b.amount = a
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || text == "" || strings.ContainsAny(text, "-,") {
		return fmt.Errorf("%q is no size: use a share (80%%) or a number with a unit (512MiB) above 0", text)
	}
	b.amount = amount{text, float64(n), false}
	return nil
}

// check finds what cannot be together.
func (p Params) check() error {
	if !p.CPU.given() && !p.Memory.given() {
		return errors.New("nothing is pressed: give cpu (90%, or a number of processors) or memory (80%, or a size)")
	}
	if p.By == Limit {
		for name, a := range map[string]amount{"cpu": p.CPU.amount, "memory": p.Memory.amount} {
			if a.share && a.n == 100 {
				return fmt.Errorf("%s: 100%% by limit leaves nothing: use pause for a node that stands still", name)
			}
		}
	}
	return nil
}
