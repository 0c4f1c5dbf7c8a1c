// Package inside runs a small part of this program as a child in the control
// groups of a node, so that what it does is counted as the node's own: it uses up
// processors or memory, or tries a disk.
//
// The child ends with the pipe of whoever started it, with the thread that did
// (prctl(2), PR_SET_PDEATHSIG), and at its lease; whichever comes first. It is the
// first that the kernel kills where memory runs out.
//
// The package does not choose groups (package cgroups) and does not judge what was
// measured.
package inside

import (
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// Mode is the first argument with which this program is started as a child; the
// second is a name by which the child is found again.
const Mode = "inside"

// An order is one line that the child is told. The first says what it is for.
type order struct {
	Try   *Try          `json:"try,omitempty"`
	Burn  *Burn         `json:"burn,omitempty"`
	Lease time.Duration `json:"lease,omitempty"` // from now on
}

// A Try writes and reads a file directly, past the cache of the kernel, and takes
// the time.
type Try struct {
	Size   int  `json:"size"`   // bytes at once
	Times  int  `json:"times"`  // one after the other
	Read   bool `json:"read"`   // reads what is there instead
	Direct bool `json:"direct"` // the file is open with O_DIRECT; else each write is synced
}

// Burn says what is used up.
type Burn struct {
	Cores  float64        `json:"cores"`  // processors, at most
	Memory uint64         `json:"memory"` // bytes
	Spare  uint64         `json:"spare"`  // bytes that the machine must have left; else no more is taken
	Main   targets.ProcID `json:"main"`   // the burner ends with this process
}

// An answer is one line that the child says.
type answer struct {
	Took  time.Duration `json:"took,omitempty"`
	Error string        `json:"error,omitempty"`
}

func answered(took time.Duration, err error) answer {
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Took: took}
}
