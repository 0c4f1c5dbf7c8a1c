//go:build !unix

package trust

import (
	"fmt"
	"io/fs"
)

func owner(name string, _ fs.FileInfo) error {
	return fmt.Errorf("%s: whose it is cannot be told on this system: %w", name, ErrForeign)
}
