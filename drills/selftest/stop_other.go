//go:build !unix

package selftest

import (
	"context"
	"os"
	"syscall"
	"time"
)

// canStop says that a process can be held up.
const canStop = false

func ownGroup() *syscall.SysProcAttr { return nil }

func hold(context.Context, *os.Process, time.Duration) error { return nil }
