//go:build !linux

package traces

import "github.com/dapple-drills/dapple/targets"

func clock() (Clock, error) { return Clock{}, targets.ErrUnsupported }
