package diskslow

import (
	"context"
	"errors"

	"github.com/dapple-drills/dapple/internal/cgroups"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/volumes"
)

// here sets a limit on a disk of this machine for a group in which nobody is, and
// takes it away. Which disk a path of a node is on, Plan finds out.
func here(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := someDisk()
	if err != nil {
		return diag.Hint(err, "a path of a node that is on a disk may be another one: dapple plan says so")
	}
	return cgroups.Scratch(cgroups.Want{V1: "blkio", V2: "io.max"}, func(g cgroups.Group) error {
		s := state{Group: g, Disk: d}
		file, text := setting(s, writeBytes, 1<<20)
		if err := g.Sets(file, text, "1048576"); err != nil {
			return err
		}
		_, text = setting(s, writeBytes, 0)
		return g.Sets(file, text, "")
	})
}

// someDisk is one that something of this machine is on.
func someDisk() (volumes.Disk, error) {
	var errs []error
	for _, dir := range []string{"/", "/var/tmp"} {
		m, err := volumes.Host(dir)
		if err == nil {
			var d volumes.Disk
			if d, err = volumes.DiskOf(m); err == nil {
				return d, nil
			}
		}
		errs = append(errs, err)
	}
	return volumes.Disk{}, errors.Join(errs...)
}
