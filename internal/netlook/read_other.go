//go:build !linux

package netlook

import "errors"

// Read needs Linux.
func Read(string) (State, error) { return State{}, errors.ErrUnsupported }
