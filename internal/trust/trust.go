// Package trust says whether what is in a file can only be what the operator, or
// root, put there. It is asked before anything is run because a file says so.
//
// It judges the file itself, by its owner and mode. It does not know where its
// content came from: what the operator downloaded is his.
package trust

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dapple-drills/dapple/internal/diag"
)

// ErrForeign is wrapped when somebody else may have written the file.
var ErrForeign = errors.New("it is not the operator's own")

// File judges a file by what stat(2) says of it. Take info from the descriptor
// that the content is read from, so that nobody can exchange it in between. name
// is for the error.
func File(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return diag.Hint(fmt.Errorf("%s is no regular file: %w", name, ErrForeign), "put it into a file of your own")
	}
	return owner(name, info)
}

// Dir judges a directory as File does a file.
func Dir(name string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory: %w", name, ErrForeign)
	}
	return owner(name, info)
}

func writable(name string, mode fs.FileMode) error {
	if mode.Perm()&0o002 != 0 {
		return diag.Hint(fmt.Errorf("%s may be written by everybody (mode %04o): %w", name, mode.Perm(), ErrForeign), "chmod o-w "+name)
	}
	return nil
}
