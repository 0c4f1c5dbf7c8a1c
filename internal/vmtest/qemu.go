package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/dapple-drills/dapple/internal/vmtest/guest/order"
)

// qemu is the emulator's program.
const qemu = "qemu-system-x86_64"

// errNotUp says that no test of the guest can have begun.
var errNotUp = errors.New("the guest did not come up")

// A machine is what to boot. What the kernel says goes to the file Console.
type machine struct{ Kernel, Initrd, Console string }

// A result is what came out of a machine.
type result struct {
	up     up
	said   string        // by the tests
	booted time.Duration // from its start until the tests began
	took   time.Duration
	code   int // with which the tests ended
	// console is the end of what the kernel said.
	console string
}

// up is what the guest said of itself when its tests began.
type up struct{ kernel string }

// args: thread=single, because emulated processors that run on threads of their
// own hang when the kernel patches its code, and one processor, because two on one
// thread wait for each other; no reboot, so that a panic ends it. On a busy machine
// the emulated clocks are late: the kernel is not to test one against another at
// its start, and reads the one that needs no such test.
func (m machine) args() []string {
	return []string{
		"-accel", "tcg,thread=single", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m", "768",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel, "-initrd", m.Initrd,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on no_timer_check clocksource=hpet",
		"-serial", "file:" + m.Console, "-serial", "stdio",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=4", order.Port),
	}
}

// run boots the machine and waits for its end, or kills it when ctx ends or when
// it is not up in time.
func run(ctx context.Context, m machine) (r result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slow := time.AfterFunc(bootTime, func() { cancel(fmt.Errorf("not up within %v", bootTime)) })
	defer slow.Stop()

	cmd := exec.CommandContext(ctx, qemu, m.args()...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("starting %s: %w", qemu, err)
	}
	var said bytes.Buffer
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if release, ok := order.ReadUp(trim(line)); ok && r.booted == 0 {
			slow.Stop()
			r.booted, r.up.kernel = time.Since(begin), release
			line = ""
		}
		said.WriteString(line)
		if err != nil {
			break // the emulator has ended: how, its exit code says
		}
	}
	ended := cmd.Wait()
	r.took, r.said = time.Since(begin), said.String()
	r.console = tail(m.Console)
	return r, r.read(ctx, cmd.ProcessState.ExitCode(), ended, complaints.String())
}

// read makes the guest's exit code of the emulator's.
func (r *result) read(ctx context.Context, code int, ended error, complaints string) error {
	why := fmt.Errorf("%s ended with %d (%v), which is no word of the guest: %s", qemu, code, ended, complaints)
	if cause := context.Cause(ctx); cause != nil {
		why = fmt.Errorf("%s was ended: %w", qemu, cause)
	}
	value := code >> 1
	switch {
	case r.booted == 0:
		return fmt.Errorf("%w: %w", errNotUp, why)
	case code&1 != 1 || value < order.First || value >= order.Last:
		return why
	}
	r.code = value - order.First
	return nil
}

// tail is the end of what the kernel said.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-8<<10):])
}

// trim takes the end of the line away.
func trim(line string) string { return string(bytes.TrimRight([]byte(line), "\r\n")) }
