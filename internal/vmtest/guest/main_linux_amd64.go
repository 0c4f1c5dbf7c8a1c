// Command guest is the first process of a virtual machine for tests: it makes the
// machine usable, runs one program and tells the emulator how that ended.
//
// It waits for every process whose parent has died, as a first process must, so
// that tests which look for the end of processes see one. It does not supervise
// anything: whoever booted the machine does, by the clock.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/vmtest/guest/order"
)

func main() {
	code, err := work()
	if err != nil {
		fmt.Println("guest:", err) // on the console
		code = order.Last - order.First
	}
	unix.Sync()
	leave(code)
}

// work does what the order says, and returns how its program ended.
func work() (code int, err error) {
	if err := mounts(); err != nil {
		return 0, err
	}
	data, err := os.ReadFile(order.Path)
	if err != nil {
		return 0, err
	}
	var o order.Order
	if err := json.Unmarshal(data, &o); err != nil {
		return 0, err
	}
	for _, m := range o.Modules {
		if err := load(m); err != nil {
			return 0, fmt.Errorf("loading %s: %w", m, err)
		}
	}
	if err := loopback(); err != nil {
		return 0, fmt.Errorf("setting lo up: %w", err)
	}
	out, err := line()
	if err != nil {
		return 0, fmt.Errorf("opening the second serial line: %w", err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, err
	}
	fmt.Fprintln(out, order.Up(unix.ByteSliceToString(name.Release[:])))
	if code, err = run(o, out); err != nil {
		return 0, err
	}
	fmt.Fprintln(out, order.Over(code))
	return code, unix.IoctlSetInt(int(out.Fd()), unix.TCSBRK, 1) // until it is all sent
}

func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	if err := os.MkdirAll("/dev/pts", 0o755); err != nil {
		return err
	}
	return unix.Mount("devpts", "/dev/pts", "devpts", 0, "")
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// line is the second serial line, which the kernel's messages do not come by,
// without the terminal's changes to what is written.
func line() (*os.File, error) {
	f, err := os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Oflag &^= unix.OPOST
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

// run starts the program and waits for every process until it has ended.
func run(o order.Order, out *os.File) (code int, err error) {
	p, err := os.StartProcess(o.Argv[0], o.Argv, &os.ProcAttr{Dir: "/root", Env: o.Env, Files: []*os.File{nil, out, out}})
	if err != nil {
		return 0, err
	}
	for {
		var how unix.WaitStatus
		pid, err := unix.Wait4(-1, &how, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for %s: %w", o.Argv[0], err)
		case pid == p.Pid && how.Exited():
			return how.ExitStatus(), nil
		case pid == p.Pid && how.Signaled():
			return 64, fmt.Errorf("%s ended by signal %v", o.Argv[0], how.Signal())
		}
	}
}

// outl writes to a port of the machine.
func outl(port uint16, value uint32)

// leave ends the machine with the code. A port is opened for a thread.
func leave(code int) {
	runtime.LockOSThread()
	if err := unix.Ioperm(order.Port, 4, 1); err != nil {
		fmt.Println("guest: opening the exit port:", err)
	}
	outl(order.Port, uint32(min(order.First+code, order.Last)))
	select {} // the machine is off
}
