//go:build !linux

package mechanism

// List is empty: all of them are of the Linux kernel.
func List() []Mechanism { return nil }
