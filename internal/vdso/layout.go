package vdso

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

//go:embed payload/amd64.bin
var assembled []byte

// A Layout says what is where in the vDSO of this kernel, which is one and the same
// in every 64-bit process, and what of it is changed.
type Layout struct {
	image   []byte // as the kernel made it
	at      int    // where the payload goes
	payload []byte // with everything but skew and lease
	hooks   []hook
	slow    error // why the payload must make system calls, if it must
}

// A hook is a function that is replaced.
type hook struct {
	name  string
	at    int     // in the vDSO
	entry int     // in the payload
	jump  [8]byte // what its first bytes become
}

// The functions and where their replacements begin: see payload/amd64.S.
var replaced = [hookCount]hook{
	{name: "__vdso_clock_gettime", entry: offEntry},
	{name: "__vdso_gettimeofday", entry: 0xf0},
	{name: "__vdso_time", entry: 0x130},
}

// sysCall is: mov $228, %eax; syscall; ret. It is the true clock_gettime where the
// one of the vDSO cannot be called.
var sysCall = []byte{0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0xc3}

// NewLayout reads a vDSO that nobody changed.
func NewLayout(image []byte) (*Layout, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("reading the vDSO: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("the vDSO is for %v %v, not for x86-64", f.Class, f.Machine)
	}
	l := &Layout{image: bytes.Clone(image), payload: bytes.Clone(assembled)}
	if err := l.room(f); err != nil {
		return nil, err
	}
	sizes, err := l.find(f)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint16(l.payload[offHooks:], hookCount)
	for i, h := range l.hooks {
		binary.LittleEndian.PutUint16(l.payload[offHooks+2+2*i:], uint16(h.at))
		copy(l.payload[offSaved+word*i:], image[h.at:h.at+word])
	}
	call, err := callThrough(image, l.hooks[0].at, sizes[0], l.at+offTrue)
	if err == nil && len(call) > offEntry-offTrue {
		err = fmt.Errorf("its first instructions take %d bytes", len(call))
	}
	if err != nil {
		call, l.slow = sysCall, err
	}
	copy(l.payload[offTrue:], call)
	return l, nil
}

// room finds the zeros behind the ELF image.
func (l *Layout) room(f *elf.File) error {
	end := uint64(0)
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS {
			end = max(end, s.Offset+s.FileSize)
		}
	}
	end = max(end, uint64(tableEnd(l.image)))
	const line = 64 // a cache line, for data and code that are used together
	if end > uint64(len(l.image)) {
		return errors.New("the vDSO is longer than its pages")
	}
	l.at = int(end+line-1) &^ (line - 1)
	if l.at+len(l.payload) > len(l.image) {
		return fmt.Errorf("behind the vDSO of this kernel are %d bytes, and %d are needed", len(l.image)-min(l.at, len(l.image)), len(l.payload))
	}
	if !zero(l.image[l.at : l.at+len(l.payload)]) {
		return errors.New("behind the vDSO of this process is something already")
	}
	return nil
}

// elfHeader is the size of an ELF header for 64 bits.
const elfHeader = 64

// tableEnd is where the table of sections ends (elf(5): e_shoff, e_shentsize,
// e_shnum).
func tableEnd(header []byte) int {
	le := binary.LittleEndian
	return int(le.Uint64(header[40:])) + int(le.Uint16(header[58:]))*int(le.Uint16(header[60:]))
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// find finds the functions, and their sizes.
func (l *Layout) find(f *elf.File) (sizes []int, err error) {
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("reading the symbols of the vDSO: %w", err)
	}
	base := uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			base = p.Vaddr - p.Off
		}
	}
	for _, h := range replaced {
		for _, s := range symbols {
			if s.Name == h.name {
				h.at = int(s.Value - base)
				sizes = append(sizes, int(s.Size))
			}
		}
		switch {
		case h.at == 0:
			return nil, fmt.Errorf("the vDSO of this kernel has no %s", h.name)
		case h.at%word != 0 || h.at > 0xffff || h.at+word > l.at:
			return nil, fmt.Errorf("%s is at %#x of the vDSO, where no jump can be written at once", h.name, h.at)
		}
		copy(h.jump[:], l.image[h.at:])
		h.jump[0] = 0xe9 // jmp rel32
		binary.LittleEndian.PutUint32(h.jump[1:], uint32(int32(l.at+h.entry-h.at-jumpLen)))
		l.hooks = append(l.hooks, h)
	}
	return sizes, nil
}

// jumpLen is how long a jump is.
const jumpLen = 5

// Slow says why asking for the time takes a system call while it is skewed, or "".
func (l *Layout) Slow() string {
	if l.slow == nil {
		return ""
	}
	return l.slow.Error()
}

// A State is what a process's vDSO is like.
type State string

// The states.
const (
	Untouched State = "untouched"
	Inert     State = "inert"   // the payload is there, and nothing leads to it
	Armed     State = "armed"   // every function leads to it
	Partial   State = "partial" // some do: somebody died while making or unmaking it
	Foreign   State = "foreign" // somebody else's change
)

// A Sight is what was seen in one process at one moment.
type Sight struct {
	State State
	Skew  Skew
	Lease Lease
	Image []byte // of the whole vDSO
	Other bool   // the payload is another version's
	jumps []jump // that are there
}

// A jump is one that is there, and what it replaced.
type jump struct {
	at    int
	saved []byte
}

// Judge says what the vDSO of a process is like.
func (l *Layout) Judge(image []byte) Sight {
	s := Sight{State: Foreign, Image: image}
	if len(image) != len(l.image) {
		return s
	}
	p := image[l.at : l.at+len(l.payload)]
	rest := bytes.Clone(image)
	if string(p[:len(magic)]) == magic {
		if !s.table(l, image, p) {
			return s
		}
		for _, j := range s.jumps {
			copy(rest[j.at:], j.saved)
		}
		size := int(binary.LittleEndian.Uint32(p[offMagic+12:]))
		clear(rest[l.at:min(l.at+size, len(rest))])
	} else {
		s.State = Untouched
	}
	if !bytes.Equal(rest, l.image) {
		s.State = Foreign
	}
	return s
}

// table reads the payload p, and says whether it is one.
func (s *Sight) table(l *Layout, image, p []byte) bool {
	n := int(binary.LittleEndian.Uint16(p[offHooks:]))
	if n < 1 || n > hookCount {
		return false
	}
	for i := range n {
		at := int(binary.LittleEndian.Uint16(p[offHooks+2+2*i:]))
		if at+word > l.at {
			return false
		}
		if image[at] == 0xe9 && l.image[at] != 0xe9 {
			s.jumps = append(s.jumps, jump{at, p[offSaved+word*i : offSaved+word*i+word]})
		}
	}
	switch len(s.jumps) {
	case 0:
		s.State = Inert
	case n:
		s.State = Armed
	default:
		s.State = Partial
	}
	s.Lease = Lease{wordAt(p, offLease), dur(p, offLease+word)}
	s.Skew = Skew{dur(p, offSkew), wordAt(p, offSkew+word), wordAt(p, offT0), dur(p, offT0+word), dur(p, offT0+2*word)}
	s.Other = !bytes.Equal(p[:offLease], l.payload[:offLease]) || !bytes.Equal(p[offHooks:], l.payload[offHooks:])
	return true
}

// Shifted is the vDSO as if the skew had begun that much earlier.
func (l *Layout) Shifted(s Sight, earlier int64) []byte {
	image := bytes.Clone(s.Image)
	copy(image[l.at+offT0:], words(s.Skew.T0-earlier))
	return image
}

// mulShift is a*b / 2^32, rounded down, as the payload does it.
func mulShift(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return int64(hi<<32 | lo>>32)
}

func dur(b []byte, at int) time.Duration { return time.Duration(wordAt(b, at)) }
