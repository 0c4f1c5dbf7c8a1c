// Package order is what a guest is told by the machine that boots it, and what it
// tells back: a file in its initial file system, two lines around what the tests
// say, and an exit code. It does nothing by itself.
package order

import (
	"fmt"
	"strings"
)

// Path is where the Order lies in the guest.
const Path = "/order.json"

// An Order is what to do.
type Order struct {
	Modules []string // files, in the order in which they are loaded
	Argv    []string
	Env     []string
}

// Codes: what is written to the emulator's exit device. The emulator ends with
// 2×code+1, and with 1 if it fails itself, which must not read as "0 in the guest".
const (
	First = 32  // the guest's program ended with 0
	Last  = 126 // 2×126+1 is the highest odd exit code but 255
)

// Port is where the exit device listens: qemu -device isa-debug-exit,iobase=.
const Port = 0xf4

const mark = "dapple-guest: "

// Up is the line that begins what the tests say.
func Up(release string) string { return mark + "up " + release }

// Over is the line that ends it.
func Over(code int) string { return fmt.Sprintf("%sended with %d", mark, code) }

// ReadUp finds the kernel's release in a line that Up made.
func ReadUp(line string) (release string, ok bool) { return strings.CutPrefix(line, mark+"up ") }
