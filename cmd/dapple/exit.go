package main

import (
	"errors"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/internal/diag"
)

// The exit codes of the contract. Precedence: 6, 2, 3, 1, 4, 5, 0.
const (
	exitPass    = 0 // all objectives met
	exitUsage   = 2 // usage, or an invalid file
	exitRefused = 3 // preflight refused: nothing was touched
	exitAborted = 4 // aborted or interrupted: everything reverted
	exitLeft    = 6 // a fault or trace is still in place
)

// errSaid ends a command that has said all there is to say.
var errSaid = errors.New("said already")

// exit ends the command with code, and prints nothing more.
func exit(code int) error {
	if code == exitPass {
		return nil
	}
	return diag.Code(errSaid, code)
}

// usage marks err as the user's: a wrong flag, argument or file.
func usage(err error) error { return diag.Code(err, exitUsage) }

// refuse makes err a refusal: nothing was touched.
func refuse(err error) error { return &drills.Refusal{Problems: []error{err}} }

// codeOf is the exit code of an error; what no rule knows is the user's to mend.
func codeOf(err error) int {
	if code, ok := diag.CodeOf(err); ok {
		return code
	}
	var refusal *drills.Refusal
	switch {
	case errors.As(err, &refusal):
		return exitRefused
	case errors.Is(err, errInterrupted):
		return exitAborted
	}
	return exitUsage
}
