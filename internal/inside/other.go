//go:build !linux

package inside

import (
	"context"
	"errors"
	"io"
)

// Main is the child, which needs Linux.
func Main(context.Context, io.Reader, io.Writer) error {
	return errors.New("control groups need Linux")
}
