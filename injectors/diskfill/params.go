package diskfill

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Params is what may stand under "with".
type Params struct {
	Path   string `yaml:"path" json:"path,omitempty" jsonschema:"description=A directory inside the node; the file system that it is on is filled."`
	Free   Amount `yaml:"free" json:"free,omitzero" jsonschema:"default=0B,description=What is left: a size (10MiB) or a share (1%); with inodes a number of them."`
	Inodes bool   `yaml:"inodes" json:"inodes,omitempty" jsonschema:"default=no,description=Take inodes instead of bytes."`
	Root   bool   `yaml:"root" json:"root,omitempty" jsonschema:"default=no,description=The victim runs as root: take the blocks that are reserved for root too."`
	Limit  Amount `yaml:"limit" json:"limit,omitzero" jsonschema:"description=The most that is taken. Without one, a disk that the host or Docker itself uses is refused."`
}

// An Amount is a number of bytes or inodes, or a share of all of them.
type Amount struct {
	text  string // as it was given; "" if it was not
	n     uint64
	share float64 // per cent, if the text ends so
}

func (a Amount) String() string { return a.text }

// MarshalText writes it as it was given.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.text), nil }

func (a Amount) given() bool  { return a.text != "" }
func (a Amount) shared() bool { return strings.HasSuffix(a.text, "%") }

// hasUnit says whether it can only be a size.
func (a Amount) hasUnit() bool {
	return a.given() && strings.Trim(a.text[len(a.text)-1:], "0123456789%. ") != ""
}

// of is how many of total it is.
func (a Amount) of(total uint64) uint64 {
	if a.shared() {
		return uint64(math.Floor(float64(total) * a.share / 100))
	}
	return a.n
}

// UnmarshalText reads "10MiB", "10 MB", "4096" or "1.5%".
func (a *Amount) UnmarshalText(data []byte) error {
	text := strings.TrimSpace(string(data))
	if number, is := strings.CutSuffix(text, "%"); is {
		share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		switch {
		case err != nil || math.IsNaN(share):
			return fmt.Errorf("%q is no share: use 0%% to 100%%", text)
		case share < 0 || share > 100:
			return fmt.Errorf("%q: a share is between 0%% and 100%%", text)
		}
		*a = Amount{text: text, share: share}
		return nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || text == "" || strings.ContainsAny(text, "-,") {
		return fmt.Errorf("%q is no size: use a number with a unit (10MiB, 1GB) or a share (5%%); it cannot be negative", text)
	}
	*a = Amount{text: text, n: n}
	return nil
}

// check finds what cannot be together.
func (p Params) check() error {
	switch {
	case p.Path == "":
		return errors.New("path is missing: give a directory inside the node that is on the disk which is to be filled, such as its data directory")
	case !path.IsAbs(p.Path) || strings.ContainsRune(p.Path, 0):
		return fmt.Errorf("path %q: give an absolute path inside the node", p.Path)
	case p.Inodes && (p.Free.hasUnit() && p.Free.n != 0 || p.Limit.hasUnit()):
		return errors.New("with inodes: yes, free and limit are numbers of inodes (100) or a share of them (1%), not sizes")
	case p.Limit.shared():
		return fmt.Errorf("limit %s: it bounds what is taken, so it is a size (1GiB), not a share", p.Limit)
	case p.Limit.given() && p.Limit.n == 0:
		return fmt.Errorf("limit %s allows nothing to be taken", p.Limit)
	}
	return nil
}
