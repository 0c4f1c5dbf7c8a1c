package agent

import (
	"fmt"
	"strings"
	"sync"
)

// A feed passes on sightings without making the one who sees them wait.
type feed struct {
	out    chan Sighted
	in     chan Sighted
	ended  chan struct{}
	finish func()
}

func newFeed() *feed {
	f := &feed{out: make(chan Sighted, 64), in: make(chan Sighted), ended: make(chan struct{})}
	f.finish = sync.OnceFunc(func() { close(f.ended) })
	go f.run()
	return f
}

// run keeps what nobody has taken yet.
func (f *feed) run() {
	defer close(f.out)
	var queue []Sighted
	for {
		var out chan Sighted
		var first Sighted
		if len(queue) > 0 {
			out, first = f.out, queue[0]
		}
		select {
		case s := <-f.in:
			queue = append(queue, s)
		case out <- first:
			queue = queue[1:]
		case <-f.ended:
			for _, s := range queue { // as much as fits; nobody may be listening any more
				select {
				case f.out <- s:
				default:
				}
			}
			return
		}
	}
}

func (f *feed) put(s Sighted) {
	select {
	case f.in <- s:
	case <-f.ended:
	}
}

func (f *feed) close() { f.finish() }

// A tail keeps the end of what is written to it: the last words of an agent.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - tailSize; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}

// withStderr adds what the agent wrote to its stderr.
func (c *Client) withStderr(err error) error {
	if said := c.said.String(); said != "" {
		return fmt.Errorf("%w: it wrote: %s", err, said)
	}
	return err
}
