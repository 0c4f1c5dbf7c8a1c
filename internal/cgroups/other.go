//go:build !linux

package cgroups

import (
	"context"
	"fmt"
	"runtime"

	"github.com/dapple-drills/dapple/targets"
)

// errOther says what is missing: cgroups(7).
var errOther = fmt.Errorf("control groups need Linux, this is %s: %w", runtime.GOOS, targets.ErrUnsupported)

// Find needs Linux.
func Find(context.Context, targets.Node, Want) (Group, error) { return Group{}, errOther }

// Members needs Linux.
func (Group) Members() ([]int, error) { return nil, errOther }

// Same needs Linux.
func (Group) Same(context.Context) error { return errOther }

// Writable needs Linux.
func (Group) Writable(_, _, _ string) error { return errOther }

// Read needs Linux.
func (Group) Read(context.Context, string) (string, error) { return "", errOther }

// Write needs Linux.
func (Group) Write(context.Context, string, string) error { return errOther }

// Scratch needs Linux.
func Scratch(Want, func(Group) error) error { return errOther }

// Sets needs Linux.
func (Group) Sets(_, _, _ string) error { return errOther }
