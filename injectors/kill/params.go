package kill

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dapple-drills/dapple/internal/procs"
)

// Params is what may stand under "with".
type Params struct {
	Signal  Signal `yaml:"signal" json:"signal,omitempty" jsonschema:"default=KILL,description=Signal to send: a POSIX name or a number. STOP is undone by CONT after 'for'."`
	Process string `yaml:"process" json:"process,omitempty" jsonschema:"default=main,description=main (the node's main process; in a container pid 1 and with it the whole container) or all or server or manager or the name of a process."`
	Mode    Mode   `yaml:"mode" json:"mode,omitempty" jsonschema:"default=crash,enum=crash,enum=fence,description=crash: as if the process died by itself; the engine's restart policy acts. fence: put down through the engine; nothing but a start brings it back."`
}

// A Signal is the name of a signal, without SIG: "KILL". Reading one accepts
// numbers and either case.
type Signal string

// A Mode says how a node is put down.
type Mode string

const (
	// Crash: as if it died by itself.
	Crash Mode = "crash"
	// Fence: through its engine, which then does not restart it.
	Fence Mode = "fence"
)

// numbers are those of Linux on x86 and ARM (signal(7)): the nodes run there,
// wherever the runner does.
var numbers = map[Signal]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
	"SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19,
	"TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28,
	"IO": 29, "PWR": 30, "SYS": 31,
}

const (
	sigKILL = syscall.Signal(9)
	sigSTOP = syscall.Signal(19)
	sigCONT = syscall.Signal(18)
	lastRT  = 64 // SIGRTMAX
	firstRT = 34 // SIGRTMIN as the C library has it; 32 and 33 are its own
)

// UnmarshalText reads a name or a number.
func (s *Signal) UnmarshalText(text []byte) error {
	name := Signal(strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(string(text))), "SIG"))
	if n, err := strconv.Atoi(string(name)); err == nil {
		for known, number := range numbers {
			if number == n {
				name = known
			}
		}
		if name == "0" {
			return errors.New("signal 0 does nothing: it only asks whether a signal could be sent")
		}
		if n >= firstRT && n <= lastRT {
			*s = name
			return nil
		}
	}
	n, known := numbers[name]
	switch {
	case !known:
		return fmt.Errorf("no signal is called %q: use a POSIX name such as KILL, TERM or STOP, or its number", text)
	case slices.Contains([]Signal{"CHLD", "CONT", "URG", "WINCH"}, name):
		return fmt.Errorf("SIG%s is no fault: a process that does not ask for it does not notice it", name)
	case slices.Contains([]Signal{"TSTP", "TTIN", "TTOU"}, name):
		return fmt.Errorf("SIG%s (%d) can be caught, so its effect cannot be relied on: use STOP", name, n)
	}
	*s = name
	return nil
}

func (s Signal) number() syscall.Signal {
	if n, ok := numbers[s]; ok {
		return syscall.Signal(n)
	}
	n, err := strconv.Atoi(string(s))
	if err != nil {
		panic("dapple: internal error: signal " + string(s))
	}
	return syscall.Signal(n)
}

func (s Signal) String() string {
	if _, ok := numbers[s]; ok {
		return "SIG" + string(s)
	}
	return "signal " + string(s)
}

// UnmarshalText reads a mode.
func (m *Mode) UnmarshalText(text []byte) error {
	switch Mode(text) {
	case Crash, Fence:
		*m = Mode(text)
		return nil
	}
	return fmt.Errorf("no mode is called %q: use crash (as if it died by itself) or fence (put down through its engine)", text)
}

// check finds what cannot be together.
func (p Params) check() error {
	if err := p.choice().Check(); err != nil {
		return err
	}
	switch {
	case p.Mode == Fence && p.Signal == "STOP":
		return errors.New("signal STOP cannot go with mode fence: a fenced node is dead, a stopped one is not; use mode crash")
	case p.Mode == Fence && (p.Signal != "KILL" || p.Process != procs.Main):
		return fmt.Errorf("mode fence puts the whole node down: signal must be KILL and process main, not %s and %s", p.Signal, p.Process)
	}
	return nil
}
