package diskslow

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
	Path     string `yaml:"path" json:"path,omitempty" jsonschema:"description=A directory inside the node; the disk that it is on is slow for the node."`
	Read     Rate   `yaml:"read" json:"read,omitzero" jsonschema:"description=Bytes per second that can be read: 1MiB/s."`
	Write    Rate   `yaml:"write" json:"write,omitzero" jsonschema:"description=Bytes per second that can be written: 1MiB/s."`
	ReadOps  uint64 `yaml:"read_ops" json:"read_ops,omitempty" jsonschema:"description=Reads per second."`
	WriteOps uint64 `yaml:"write_ops" json:"write_ops,omitempty" jsonschema:"description=Writes per second."`
}

// A Rate is a number of bytes per second.
type Rate struct {
	text string // as it was given; "" if it was not
	n    uint64
}

func (r Rate) String() string { return r.text }

// MarshalText writes it as it was given.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText reads "1MiB/s", "500 kB" or "65536".
func (r *Rate) UnmarshalText(data []byte) error {
	text := strings.TrimSpace(string(data))
	size := strings.TrimSpace(strings.TrimSuffix(text, "/s"))
	n, err := humanize.ParseBytes(size)
	if err != nil || size == "" || strings.ContainsAny(size, "-,") {
		return fmt.Errorf("%q is no rate: use bytes per second with a unit (1MiB/s, 500kB/s); it cannot be negative", text)
	}
	*r = Rate{text, n}
	return nil
}

// slowest is the least that is allowed per second: less than a page would let the
// node hang in the kernel, where not even SIGKILL reaches it.
const slowest = 4096

// check finds what cannot be.
func (p Params) check() error {
	switch {
	case p.Path == "":
		return errors.New("path is missing: give a directory inside the node that is on the disk which is to be slow, such as its data directory")
	case !path.IsAbs(p.Path) || strings.ContainsRune(p.Path, 0):
		return fmt.Errorf("path %q: give an absolute path inside the node", p.Path)
	case p.Read.text == "" && p.Write.text == "" && p.ReadOps == 0 && p.WriteOps == 0:
		return errors.New("nothing is slow: give read or write (1MiB/s), or read_ops or write_ops (50), at least 1")
	}
	for name, r := range map[string]Rate{"read": p.Read, "write": p.Write} {
		if r.text != "" && r.n < slowest {
			return fmt.Errorf("%s %s: the least is %s/s: below a page per second the node would hang in the kernel; use pause for a node that hangs", name, r, humanize.IBytes(slowest))
		}
	}
	for name, n := range map[string]uint64{"read_ops": p.ReadOps, "write_ops": p.WriteOps} {
		if n > math.MaxUint32 {
			return fmt.Errorf("%s %s: the most is %d", name, strconv.FormatUint(n, 10), uint32(math.MaxUint32))
		}
	}
	return nil
}

// limits are those that were asked for.
func (p Params) limits() []change {
	var all []change
	for _, c := range []change{{Limit: readBytes, Now: p.Read.n}, {Limit: writeBytes, Now: p.Write.n}, {Limit: readOps, Now: p.ReadOps}, {Limit: writeOps, Now: p.WriteOps}} {
		if c.Now > 0 {
			all = append(all, c)
		}
	}
	return all
}
