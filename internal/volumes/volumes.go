// Package volumes opens a directory as a node sees it, and says which file system
// and which disk of the machine it is on: what the faults that aim at storage have
// in common, so that one path means the same disk in all of them.
//
// The kernel resolves the path below the root of the node's main process: no
// symbolic link of the node leads out of it. The package reads; what is done to a
// file system, and which ones must be left alone, is not known here.
package volumes

import (
	"fmt"
	"os"

	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/targets"
)

// A Volume is an open directory inside a node.
type Volume struct {
	Dir   *os.File       // its name is the path inside the node
	Main  targets.ProcID // through whose root it was opened
	Mount mounts.Mount   // that it is on
}

// Device is the number of its file system, "major:minor" as in mountinfo.
func (v Volume) Device() string { return Device(v.Mount) }

// Device is the number of a file system, "major:minor" as in mountinfo.
func Device(m mounts.Mount) string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// Close closes the directory.
func (v Volume) Close() error { return v.Dir.Close() }

// A Disk is a block device with a queue of its own: a whole disk, never a part of
// one.
type Disk struct {
	Number string `json:"number"` // "254:0"
	Name   string `json:"name"`   // "vda"
}
