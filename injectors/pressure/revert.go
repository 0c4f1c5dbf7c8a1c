package pressure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dapple-drills/dapple/targets"
)

// Revert sets back what was there, and ends the burner. What somebody else has set
// meanwhile is left alone.
func (x *presser) Revert(ctx context.Context, n targets.Node, s state) error {
	var errs []error
	for _, c := range s.Limits {
		now, err := x.ground.read(ctx, n, c.Group, c.File)
		if err == nil && now == c.Now {
			err = x.ground.write(ctx, n, c.Group, c.File, c.Before)
		}
		errs = append(errs, orGone(err))
	}
	if s.Burner != nil {
		errs = append(errs, x.putOut(), orGone(x.ground.douse(ctx, n, *s.Burner)))
	}
	return errors.Join(errs...)
}

// putOut ends the burner that this process holds.
func (x *presser) putOut() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flame == nil {
		return nil
	}
	err := x.flame.end()
	if err == nil {
		x.flame = nil
	}
	return err
}

// orGone: the limits went with the group, and the burner with the node.
func orGone(err error) error {
	if errors.Is(err, targets.ErrGone) {
		return nil
	}
	return err
}

// Reverted asks the kernel whether nothing of it is left.
func (x *presser) Reverted(ctx context.Context, n targets.Node, s state) (ok bool, proof string, err error) {
	var words []string
	for _, c := range s.Limits {
		now, err := x.ground.read(ctx, n, c.Group, c.File)
		if errors.Is(err, targets.ErrGone) {
			return true, "its control group is not there any more", nil
		}
		if err != nil {
			return false, "", err
		}
		words = append(words, fmt.Sprintf("%s/%s is %s", c.Group.Dir, c.File, now))
		if now == c.Now {
			return false, words[len(words)-1], nil
		}
	}
	if s.Burner != nil {
		b, err := x.ground.burning(ctx, n, *s.Burner)
		if err != nil && !errors.Is(err, targets.ErrGone) {
			return false, "", err
		}
		if b.There {
			return false, fmt.Sprintf("burner %v is still there", b.ID), nil
		}
		words = append(words, "the burner is gone")
	}
	return true, strings.Join(words, "; "), nil
}
