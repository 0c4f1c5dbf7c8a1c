package vdso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Process is one whose vDSO is reached through its memory as it is now. When the
// process executes another program, that has a new memory: Judge and all else then
// return an error that wraps targets.ErrGone, and it is to be opened anew.
type Process struct {
	ID   targets.ProcID
	l    *Layout
	base int64
	mem  *os.File
}

// Keys of the auxiliary vector that the kernel hands to a program (getauxval(3)).
const (
	auxEnd     = 0
	auxSysinfo = 33 // AT_SYSINFO_EHDR: where the vDSO is
	auxPageSz  = 6
)

// Own reads the layout of the vDSO from this process.
func Own() (*Layout, error) {
	base, err := where("self")
	if err != nil {
		return nil, err
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	image, err := readAll(mem, base)
	if err != nil {
		return nil, fmt.Errorf("reading the vDSO of this process: %w", err)
	}
	return NewLayout(image)
}

// where finds the vDSO of a process.
func where(pid string) (int64, error) {
	aux, err := os.ReadFile("/proc/" + pid + "/auxv")
	if err != nil {
		return 0, gone(err)
	}
	values := map[uint64]uint64{}
	for i := 0; i+16 <= len(aux); i += 16 {
		values[binary.LittleEndian.Uint64(aux[i:])] = binary.LittleEndian.Uint64(aux[i+8:])
	}
	_, sane := values[auxPageSz]
	switch base := values[auxSysinfo]; {
	case len(aux) == 0:
		return 0, fmt.Errorf("it has no memory of its own (it is dead, or a thread of the kernel): %w", targets.ErrGone)
	case !sane:
		return 0, fmt.Errorf("it is a 32-bit program: %w: %w", ErrNone, targets.ErrUnsupported)
	case base == 0:
		return 0, fmt.Errorf("it has no vDSO (a kernel booted with vdso=0, or a sandbox such as gVisor): %w: %w", ErrNone, targets.ErrUnsupported)
	default:
		return int64(base), nil
	}
}

// readAll reads the pages of the vDSO: those that its ELF file takes, at whose end is
// the table of its sections. The kernel maps them whole.
func readAll(mem io.ReaderAt, at int64) ([]byte, error) {
	head := make([]byte, elfHeader)
	if _, err := mem.ReadAt(head, at); err != nil {
		return nil, err
	}
	page := os.Getpagesize()
	size := (tableEnd(head) + page - 1) / page * page
	const most = 1 << 20
	if size < page || size > most {
		return nil, fmt.Errorf("it is said to have %d bytes", size)
	}
	image := make([]byte, size)
	_, err := mem.ReadAt(image, at)
	return image, err
}

// Open opens the process, if it still is who it was.
func (l *Layout) Open(id targets.ProcID) (*Process, error) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", id.PID), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("opening its memory: it takes root (CAP_SYS_PTRACE): run dapple with sudo, or let it use its helper container: %w: %w", targets.ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening its memory: %w", gone(err))
	}
	p := &Process{ID: id, l: l, mem: mem}
	now, err := kernel.Identity(id.PID)
	if err == nil && now != id {
		err = fmt.Errorf("the number belongs to another process by now: %w", targets.ErrGone)
	}
	if err == nil {
		p.base, err = where(fmt.Sprint(id.PID))
	}
	if err != nil {
		return nil, errors.Join(err, mem.Close())
	}
	return p, nil
}

// Close lets go of the process, which stays as it is.
func (p *Process) Close() error { return p.mem.Close() }

// gone adds that the process is not there any more, where the error says so.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", targets.ErrGone, err)
	}
	return err
}

// Look reads what the vDSO is like at this moment.
func (p *Process) Look() (Sight, error) {
	image := make([]byte, len(p.l.image))
	if _, err := p.mem.ReadAt(image, p.base); err != nil {
		// A memory without a process reads as empty.
		return Sight{}, fmt.Errorf("reading its vDSO: %w", gone(err))
	}
	return p.l.Judge(image), nil
}

// Jumps says whether every function leads to the payload, for the price of a read.
func (p *Process) Jumps() (bool, error) {
	var b [word]byte
	for _, h := range p.l.hooks {
		if _, err := p.mem.ReadAt(b[:], p.base+int64(h.at)); err != nil {
			return false, fmt.Errorf("reading its vDSO: %w", gone(err))
		}
		if b != h.jump {
			return false, nil
		}
	}
	return true, nil
}

// Arm has the functions lead to the payload, without a lease: the answers are still
// true. A process that is armed already only gets another skew.
func (p *Process) Arm(ctx context.Context, s Skew) error {
	now, err := p.Look()
	if err != nil {
		return err
	}
	if err := armable(now); err != nil {
		return err
	}
	if err := p.write(offLease, words(0)); now.State != Untouched && err != nil {
		return err
	}
	if now.State == Untouched {
		payload := append([]byte(nil), p.l.payload...)
		copy(payload[offSkew:], s.bytes())
		if err := p.write(0, payload); err != nil {
			return err
		}
	}
	code := span{p.base + int64(p.l.at), p.base + int64(p.l.at+len(p.l.payload))}
	windows := []span{code} // its data must not change under a thread that is in it
	for _, h := range p.l.hooks {
		at := p.base + int64(h.at)
		windows = append(windows, span{at + 1, at + jumpLen})
	}
	return stopped(ctx, p.ID.PID, windows, func() error {
		if err := p.write(offSkew, s.bytes()); err != nil {
			return err
		}
		for _, h := range p.l.hooks {
			if err := p.poke(h.at, h.jump[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// armable refuses what is not to be written over.
func armable(now Sight) error {
	switch {
	case now.State == Foreign:
		return fmt.Errorf("its vDSO was changed by somebody else (a debugger, another tool): it is left alone: %w", targets.ErrUnsupported)
	case now.Other:
		return fmt.Errorf("another version of dapple skewed it before, and left its payload: restart the process first: %w", targets.ErrUnsupported)
	}
	return nil
}

// Begin has the skew begin at t0, for a lease. It does not stop the process.
func (p *Process) Begin(t0 int64, l Lease) error {
	if err := p.write(offT0, words(t0)); err != nil {
		return err
	}
	return p.Renew(l)
}

// Renew has the answers differ until the end of the lease. It does not stop the
// process. The deadline is one aligned word, which is never seen half.
func (p *Process) Renew(l Lease) error {
	var b [word]byte
	if _, err := p.mem.ReadAt(b[:], p.base+int64(p.l.at+offLease+word)); err != nil {
		return fmt.Errorf("renewing: %w", gone(err))
	}
	switch window := wordAt(b[:], 0); {
	case window == int64(l.Window):
		return p.write(offLease, words(l.Deadline))
	case window < int64(l.Window):
		return errors.Join(p.write(offLease+word, words(int64(l.Window))), p.write(offLease, words(l.Deadline)))
	default:
		return errors.Join(p.write(offLease, words(l.Deadline)), p.write(offLease+word, words(int64(l.Window))))
	}
}

// Disarm ends the skew at once, and then has the functions be what they were.
func (p *Process) Disarm(ctx context.Context) error {
	now, err := p.Look()
	if err != nil {
		return err
	}
	if len(now.jumps) == 0 {
		return nil
	}
	if err := p.write(offLease, words(0)); err != nil {
		return err
	}
	return stopped(ctx, p.ID.PID, nil, func() error {
		for _, j := range now.jumps {
			if err := p.poke(j.at, j.saved); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes into the payload.
func (p *Process) write(at int, b []byte) error { return p.poke(p.l.at+at, b) }

func (p *Process) poke(at int, b []byte) error {
	_, err := p.mem.WriteAt(b, p.base+int64(at))
	if errors.Is(err, unix.EIO) {
		// access_remote_vm wrote nothing: no such memory, or not allowed to.
		if _, e := p.mem.ReadAt(make([]byte, word), p.base+int64(at)); e != nil {
			err = gone(e)
		}
	}
	if err != nil {
		return fmt.Errorf("writing to its vDSO: %w", gone(err))
	}
	return nil
}

// Able tries on this process's own vDSO, with a zero where a zero is, whether the
// kernel lets anybody write to pages that are only to be read. Some are set not to
// (proc_mem.force_override, Linux 6.12).
func (l *Layout) Able() error {
	id, err := kernel.Self()
	if err != nil {
		return err
	}
	p, err := l.Open(id)
	if err != nil {
		return err
	}
	err = p.poke(len(l.image)-1, []byte{l.image[len(l.image)-1]})
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("this kernel does not let the vDSO of a process be written to: boot it with proc_mem.force_override=always: %w: %w", targets.ErrUnsupported, err)
	}
	return errors.Join(err, p.Close())
}
