package vdso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A span is a range of addresses.
type span struct{ from, to int64 }

func (s span) holds(a uint64) bool { return a >= uint64(s.from) && a < uint64(s.to) }

const (
	// patience is how long threads stand still for one that does not stop: one in
	// an uninterruptible sleep, or one whose process is frozen.
	patience = 250 * time.Millisecond
	// ptraceEventStop marks a stop that was asked for by PTRACE_INTERRUPT, or that
	// stops the whole process (ptrace(2)).
	ptraceEventStop = 128
)

// stopped has every thread of the process stand still outside of the spans, calls
// do, and lets them go on. The process sees nothing of it (PTRACE_SEIZE), and should
// this one die meanwhile, the kernel lets its threads go on by itself: they are not
// stepped, and no register of theirs is written. Signals that arrive meanwhile are
// delivered afterwards, also by the kernel.
func stopped(ctx context.Context, pid int, not []span, do func() error) (err error) {
	// The tracer is the thread. It ends with this, and lets go of what it holds.
	kernel.Thread(func() {
		// The threads stand still until we get to run. It takes CAP_SYS_NICE, and
		// is as right, only slower, without.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		s := &stop{pid: pid, not: not, held: map[int]int{}, until: time.Now().Add(patience)}
		if err = s.all(ctx); err == nil {
			err = s.clear(ctx)
		}
		if err == nil {
			err = do()
		}
		s.release()
	})
	return err
}

// A stop holds the threads of one process.
type stop struct {
	pid   int
	not   []span
	held  map[int]int // by thread: the signal that it was about to get, or 0
	until time.Time
}

// all stops all threads, and those that they start meanwhile: first it asks all of
// them, then it waits, so that it takes the time of the slowest and not of all.
func (s *stop) all(ctx context.Context) error {
	for {
		tids, err := s.threads()
		if err != nil {
			return err
		}
		var fresh []int
		for _, tid := range tids {
			if _, is := s.held[tid]; is {
				continue
			}
			switch err := s.seize(tid); {
			case errors.Is(err, unix.ESRCH):
				continue // it ended
			case err != nil:
				return err
			}
			fresh = append(fresh, tid)
			if err := unix.PtraceInterrupt(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stopping thread %d (ptrace): %w", tid, err)
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		for _, tid := range fresh {
			if err := s.await(ctx, tid); err != nil {
				return err
			}
		}
	}
}

// seizeTries is how often a thread is asked for that one of ours still holds: it gave
// up on it, and lets go when it has ended, which takes it microseconds.
const seizeTries = 40

// seize asks the kernel for a thread, and says why it may not be had.
func (s *stop) seize(tid int) error {
	free := false // nobody held it before this try, so that the kernel's no is about us
	for n := 0; ; n++ {
		err := unix.PtraceSeize(tid)
		switch {
		case err == nil || errors.Is(err, unix.ESRCH):
			return err
		case !errors.Is(err, unix.EPERM):
			return fmt.Errorf("holding thread %d (ptrace): %w", tid, err)
		}
		by, lost := Tracer(s.pid)
		switch {
		case lost != nil:
			return lost
		case by == 0 && free:
			return fmt.Errorf("holding its threads (ptrace): it takes root (CAP_SYS_PTRACE), and a process that nobody traces: %w: %w", targets.ErrUnsupported, err)
		case by != 0 && !is("self/task", by) && is(".", by):
			return fmt.Errorf("it is traced by pid %d (a debugger, strace): end that first: %w: %w", by, targets.ErrUnsupported, err)
		case by != 0 && n >= seizeTries:
			return fmt.Errorf("a thread of ours that gave up on it has not ended yet: %w", ErrBusy)
		}
		free = by == 0
		nap()
	}
}

// is says whether there is a task of that number in a folder of /proc.
func is(folder string, task int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%s/%d", folder, task))
	return err == nil
}

func (s *stop) threads() (tids []int, err error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", s.pid))
	if err != nil {
		return nil, gone(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, n := range names {
		if tid, bad := strconv.Atoi(n); bad == nil {
			tids = append(tids, tid)
		}
	}
	return tids, gone(err)
}

// await waits until the thread stands still, or has ended.
func (s *stop) await(ctx context.Context, tid int) error {
	for spin := 0; ; spin++ {
		code, status, err := look(tid)
		switch {
		case errors.Is(err, unix.ECHILD), code == cldExited, code == cldKilled, code == cldDumped:
			delete(s.held, tid)
			return nil // the thread that traces it ends soon, and with it what is left of it
		case err != nil:
			return fmt.Errorf("waiting for thread %d: %w", tid, err)
		case code != 0:
			s.held[tid] = 0
			if status>>8 != ptraceEventStop && unix.Signal(status) != unix.SIGTRAP {
				s.held[tid] = status & 0x7f
			}
			return nil
		}
		if time.Now().After(s.until) {
			return fmt.Errorf("thread %d of pid %d does not stop (it is frozen, or waits for a disk): %w", tid, s.pid, ErrBusy)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if spin < 20 {
			yield()
		} else {
			nap()
		}
	}
}

// Codes of siginfo_t for children (sigaction(2)).
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// look asks whether the thread stands still. WNOWAIT leaves it to the kernel to
// deliver the signal for which it stopped, should we die now.
func look(tid int) (code, status int, err error) {
	var info struct {
		signo, errno, code int32
		_                  int32
		pid, uid, status   int32
		_                  [100]byte
	}
	_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
	if e != 0 && !errors.Is(e, unix.EINTR) {
		return 0, 0, e
	}
	if info.pid == 0 {
		return 0, 0, nil
	}
	return int(info.code), int(info.status), nil
}

// nap waits 50 us on this thread, whose priority is high: a timer of the Go runtime is
// served by threads whose is not.
func nap() {
	ts := unix.NsecToTimespec(50_000)
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// clear has threads go on that stand where the code changes, until none does.
func (s *stop) clear(ctx context.Context) error {
	if len(s.not) == 0 {
		return nil
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", s.pid))
	if err != nil {
		return gone(err)
	}
	defer mem.Close()
	for _, tid := range slices.Collect(maps.Keys(s.held)) {
		for {
			in, err := s.inside(mem, tid)
			if err != nil {
				return err
			}
			if !in {
				break
			}
			if time.Now().After(s.until) {
				return fmt.Errorf("thread %d of pid %d does not leave the code that asks for the time: %w", tid, s.pid, ErrBusy)
			}
			if err := s.goOn(ctx, tid); err != nil {
				return err
			}
			if _, alive := s.held[tid]; !alive {
				break
			}
		}
	}
	return nil
}

// goOn lets one thread run for a moment. It is not held until it stands still again:
// one that does not in time may stop for a signal the moment after, and to let go of
// it by hand would take that signal from it. The kernel gives it, when we end.
func (s *stop) goOn(ctx context.Context, tid int) error {
	sig := s.held[tid]
	delete(s.held, tid)
	if err := unix.PtraceCont(tid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("letting thread %d go on (ptrace): %w", tid, err)
	}
	yield()
	if err := unix.PtraceInterrupt(tid); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stopping thread %d (ptrace): %w", tid, err)
	}
	return s.await(ctx, tid)
}

// A handler of a signal that came while a thread was in one of the spans returns
// there. Its frame on the stack begins with the address of the code that returns
// from it, and holds the program counter so far behind (asm/sigcontext.h,
// struct rt_sigframe on x86-64).
const framePC = 176

// Code that returns from a handler: mov $15, %rax (or %eax); syscall.
var restorers = []string{"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", "\xb8\x0f\x00\x00\x00\x0f\x05"}

// inside says whether a thread that stands still is in one of the spans, or in a
// handler that returns there.
func (s *stop) inside(mem *os.File, tid int) (bool, error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return false, nil // it was killed
		}
		return false, fmt.Errorf("asking where thread %d is (ptrace): %w", tid, err)
	}
	if s.forbidden(regs.Rip) {
		return true, nil
	}
	stack := make([]byte, 32<<10)
	n, _ := mem.ReadAt(stack, int64(regs.Rsp)) // it ends sooner for a shallow stack
	for i := framePC; i+word <= n; i += word {
		if !s.forbidden(binary.LittleEndian.Uint64(stack[i:])) {
			continue
		}
		code := make([]byte, len(restorers[0]))
		k, _ := mem.ReadAt(code, int64(binary.LittleEndian.Uint64(stack[i-framePC:]))) // if it is an address at all
		for _, r := range restorers {
			if k >= len(r) && string(code[:len(r)]) == r {
				return true, nil
			}
		}
	}
	return false, nil
}

func (s *stop) forbidden(pc uint64) bool {
	for _, w := range s.not {
		if w.holds(pc) {
			return true
		}
	}
	return false
}

// release lets all threads go on, each with the signal that it was about to get.
func (s *stop) release() {
	for tid, sig := range s.held {
		// A thread that was killed meanwhile has nothing to be let go of; of any
		// other the kernel takes care when this thread ends.
		_, _, _ = unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(sig), 0, 0)
	}
}

// Tracer is the pid of who traces the process, or 0 (proc(5), TracerPid).
func Tracer(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, gone(err)
	}
	return statusField(string(text), "TracerPid:")
}
