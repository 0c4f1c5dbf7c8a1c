package ssh

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A Program is what is run on the machines: this program, or one of the same
// version for another kind of machine.
type Program struct {
	path string
	sum  string
	arch elf.Machine
}

// machines are the words of uname(1) for a kind of processor, and Go's.
var machines = []struct {
	uname, goarch string
	elf           elf.Machine
}{
	{"x86_64", "amd64", elf.EM_X86_64},
	{"aarch64", "arm64", elf.EM_AARCH64},
	{"riscv64", "riscv64", elf.EM_RISCV},
	{"s390x", "s390x", elf.EM_S390},
	{"ppc64le", "ppc64le", elf.EM_PPC64},
}

// ReadProgram reads what is to be copied. It must be a static program of Linux:
// what libraries a machine has is not known.
func ReadProgram(path string) (p Program, err error) {
	data, err := os.Open(path)
	if err != nil {
		return p, fmt.Errorf("reading the program: %w", err)
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, data); err != nil {
		return p, fmt.Errorf("reading the program: %w", err)
	}
	p.path, p.sum = path, hex.EncodeToString(h.Sum(nil))
	f, err := elf.NewFile(data)
	if err != nil {
		return p, diag.Hint(fmt.Errorf("the program %s is none of Linux: %w", path, err), buildFor("linux/amd64"))
	}
	p.arch = f.Machine
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return p, diag.Hint(fmt.Errorf("the program %s needs shared libraries, which the machine may not have", path),
				"build it with CGO_ENABLED=0 (make build), or set DAPPLE_AGENT to one of the same version that was")
		}
	}
	return p, nil
}

func buildFor(what string) string {
	goos, goarch, _ := strings.Cut(what, "/")
	return fmt.Sprintf("set DAPPLE_AGENT to a dapple of this version for %s: CGO_ENABLED=0 GOOS=%s GOARCH=%s go build -trimpath ./cmd/dapple", what, goos, goarch)
}

// runsOn says why the program does not run on a machine that says this of itself.
func (p Program) runsOn(f facts) error {
	if f.os != "Linux" {
		return fmt.Errorf("it runs %s, and faults are made on Linux only", f.os)
	}
	for _, m := range machines {
		if m.uname != f.arch {
			continue
		}
		if m.elf != p.arch {
			return diag.Hint(fmt.Errorf("it is %s, and the program %s is for another kind of processor", f.arch, p.path), buildFor("linux/"+m.goarch))
		}
		return nil
	}
	return fmt.Errorf("dapple is not made for %s", f.arch)
}

// name is the program's over there: by its content, so that two versions never
// take each other's place.
func (p Program) name(version string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, version)
	return "dapple-" + clean + "-" + p.sum[:16]
}
