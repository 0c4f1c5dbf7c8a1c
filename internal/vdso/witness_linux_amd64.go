package vdso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
)

// Truth is the time as the kernel itself says, asked by a system call.
func Truth() (int64, error) {
	var ts unix.Timespec
	// x/sys asks the kernel, not the vDSO.
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return 0, fmt.Errorf("asking for the time: %w", err)
	}
	return ts.Nano(), nil
}

// TAI is how far CLOCK_TAI is ahead of CLOCK_REALTIME: full seconds.
func TAI() (time.Duration, error) {
	var real, tai unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &real), unix.ClockGettime(unix.CLOCK_TAI, &tai)); err != nil {
		return 0, fmt.Errorf("asking for the time: %w", err)
	}
	return time.Duration(tai.Nano() - real.Nano()).Round(time.Second), nil
}

// Witness calls ask with a function that runs the code of a vDSO as a process would,
// and says what it answers. That is done in a child process of ours which has not
// run a single instruction of its own: it gets the very pages, and is made to call
// the functions in them. No process but this child ever notices.
func (l *Layout) Witness(ctx context.Context, ask func(run func(image []byte) ([]Reading, error)) error) (err error) {
	kernel.Thread(func() {
		if err = ctx.Err(); err != nil {
			return
		}
		var w *witness
		if w, err = l.newWitness(); err != nil {
			return
		}
		err = errors.Join(ask(w.run), w.end())
	})
	return err
}

// A witness is the child. Only the thread that made it may use it.
type witness struct {
	l     *Layout
	child *os.Process
	mem   *os.File
	base  int64
	regs  unix.PtraceRegs // as it was started
}

func (l *Layout) newWitness() (*witness, error) {
	child, err := os.StartProcess("/proc/self/exe", []string{"dapple-witness"}, &os.ProcAttr{
		Env: []string{}, Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("starting a witness: %w", err)
	}
	w := &witness{l: l, child: child}
	if err := w.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a witness: %w", err), w.end())
	}
	return w, nil
}

func (w *witness) begin() error {
	if _, err := w.await(unix.SIGTRAP); err != nil {
		return err
	}
	pid := w.child.Pid
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	if err := unix.PtraceGetRegs(pid, &w.regs); err != nil {
		return err
	}
	var err error
	if w.base, err = where(strconv.Itoa(pid)); err != nil {
		return err
	}
	w.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	return err
}

// end kills the child and waits for it.
func (w *witness) end() error {
	err := w.child.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	var ws unix.WaitStatus
	for err == nil && !ws.Exited() && !ws.Signaled() {
		if _, err = unix.Wait4(w.child.Pid, &ws, unix.WALL, nil); errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	if errors.Is(err, unix.ECHILD) {
		err = nil
	}
	if w.mem != nil {
		err = errors.Join(err, w.mem.Close())
	}
	return errors.Join(err, w.child.Release())
}

// await waits until the child stops by sig.
func (w *witness) await(sig unix.Signal) (ws unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(w.child.Pid, &ws, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil && (!ws.Stopped() || ws.StopSignal() != sig) {
		err = fmt.Errorf("the witness is in state %#x instead of stopped by %v", uint32(ws), sig)
	}
	return ws, err
}

// run runs the three functions of the image.
func (w *witness) run(image []byte) ([]Reading, error) {
	if _, err := w.mem.WriteAt(image, w.base); err != nil {
		return nil, fmt.Errorf("writing to the witness: %w", err)
	}
	var list []Reading
	for i, h := range w.l.hooks {
		r, err := w.call(i, h)
		if err != nil {
			return nil, fmt.Errorf("having the witness call %s: %w", h.name, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// call has the child call one function, which returns to address 0: where nothing
// is, so that it stops there.
func (w *witness) call(i int, h hook) (Reading, error) {
	r := w.regs
	answer := r.Rsp&^0xfff - 8192 // on its stack, which nothing else uses
	r.Rsp = answer - 1024 - word
	r.Rip, r.Orig_rax = uint64(w.base)+uint64(h.at), ^uint64(0)
	r.Rdi, r.Rsi = answer, 0
	if i == 0 {
		r.Rdi, r.Rsi = unix.CLOCK_REALTIME, answer
	}
	if _, err := w.mem.WriteAt(make([]byte, word), int64(r.Rsp)); err != nil {
		return Reading{}, err
	}
	if err := unix.PtraceSetRegs(w.child.Pid, &r); err != nil {
		return Reading{}, err
	}
	before, err := Truth()
	if err != nil {
		return Reading{}, err
	}
	if err := unix.PtraceCont(w.child.Pid, 0); err != nil {
		return Reading{}, err
	}
	if _, err := w.await(unix.SIGSEGV); err != nil {
		return Reading{}, err
	}
	after, err := Truth()
	if err != nil {
		return Reading{}, err
	}
	var end unix.PtraceRegs
	if err := unix.PtraceGetRegs(w.child.Pid, &end); err != nil {
		return Reading{}, err
	}
	if end.Rip != 0 {
		return Reading{}, fmt.Errorf("it ended at %#x instead of returning", end.Rip)
	}
	var b [16]byte
	if _, err := w.mem.ReadAt(b[:], int64(answer)); err != nil {
		return Reading{}, err
	}
	said, coarse := h.said(i, b[:], end.Rax)
	return Reading{strings.TrimPrefix(h.name, "__vdso_"), time.Duration(said - after), time.Duration(said-before) + coarse}, nil
}

// said reads the answer, and by how much it may be behind: gettimeofday cuts off
// below a microsecond, time below a second and is up to a tick of the kernel behind.
func (h hook) said(i int, b []byte, rax uint64) (ns int64, coarse time.Duration) {
	sec, sub := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	switch i {
	case 0:
		return sec*1e9 + sub, 0
	case 1:
		return sec*1e9 + sub*1e3, time.Microsecond
	default:
		return int64(rax) * 1e9, time.Second + 10*time.Millisecond
	}
}
