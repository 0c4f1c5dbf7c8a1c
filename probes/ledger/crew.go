package ledger

import (
	"context"
	"sync"
	"time"
)

// A crew is goroutines that are first told to begin nothing new, then waited
// for, and cut off only if that takes too long.
type crew struct {
	quit    context.Context // begin nothing new
	cut     context.Context // leave off
	tell    context.CancelFunc
	cutting context.CancelFunc
	wg      sync.WaitGroup

	once   sync.Once
	quitAt time.Time // valid once quit has ended: see end
	ended  chan struct{}
	unhook func() bool
}

func (c *crew) begin(ctx context.Context) {
	c.ended = make(chan struct{})
	c.cut, c.cutting = context.WithCancel(ctx)
	c.quit, c.tell = context.WithCancel(c.cut)
	c.unhook = context.AfterFunc(c.cut, c.mark)
}

// mark notes when the crew was told.
func (c *crew) mark() {
	c.once.Do(func() {
		c.quitAt = time.Now()
		close(c.ended)
	})
}

// clip returns t, or when the crew was told to begin nothing new if that was
// before: what would have been due later is not.
func (c *crew) clip(t time.Time) time.Time {
	select {
	case <-c.ended:
		return sooner(t, c.quitAt)
	default:
		return t
	}
}

func (c *crew) run(f func(quit, cut context.Context)) {
	c.wg.Go(func() { f(c.quit, c.cut) })
}

// stop waits until all are done; when ctx ends it cuts them off. A crew that
// never began, or was stopped, is done.
func (c *crew) stop(ctx context.Context) {
	if c.tell == nil {
		return
	}
	c.mark()
	c.tell()
	done := make(chan struct{})
	go func() {
		c.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		c.cutting()
		<-done
	}
	c.unhook()
	c.cutting()
}
