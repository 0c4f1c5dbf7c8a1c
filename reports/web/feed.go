package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/reports"
	"github.com/dapple-drills/dapple/reports/live"
)

// How often the files of a drill that somebody watches are looked at, and how long
// what was read is kept when nobody does.
const (
	feedLook = 500 * time.Millisecond
	feedKeep = 30 * time.Second
)

// feedBuffer is how many messages a viewer may be behind. One that is further behind
// is left, and comes back by itself with what it has seen.
const feedBuffer = 256

// A message is one event of a stream.
type message struct {
	kind string // state, line, end
	id   int    // of a line
	data []byte
}

// A feed reads what one drill writes, once for all who watch it. It opens the files
// of the run for reading, and touches neither its process nor its locks.
type feed struct {
	dir    *os.Root
	base   string
	render func(*feed, string) []byte // a part of the page, as it stands

	mu      sync.Mutex
	file    *os.File // of the timeline; nil while there is none
	rest    []byte   // the beginning of a line that is being written
	story   *live.Story
	lines   []live.Line
	rec     drills.Record
	end     string // finished or died; "" while it goes on
	changed bool   // since the state was sent
	used    time.Time
	viewers map[chan message]bool

	following bool // somebody looks again and again
}

// feeds are those of the drills that are watched.
type feeds struct {
	mu  sync.Mutex
	all map[string]*feed
}

// feed is that of an unfinished run, as far as it has been written.
func (s *Server) feed(base string) (*feed, error) {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	s.feeds.sweep()
	f := s.feeds.all[base]
	if f == nil {
		dir, _, err := s.openRun(base)
		if err != nil {
			return nil, err
		}
		rec, err := readRecord(dir)
		if err != nil {
			return nil, errors.Join(err, dir.Close())
		}
		f = &feed{dir: dir, base: base, render: s.renderPart, rec: rec, story: live.NewStory(factsOf(rec)), viewers: map[chan message]bool{}}
		s.feeds.all[base] = f
	}
	f.look(s.lockers)
	return f, nil
}

// sweep forgets the feeds that nobody has used for a while.
func (f *feeds) sweep() {
	for base, one := range f.all {
		if one.idle() {
			one.close()
			delete(f.all, base)
		}
	}
}

func (f *feed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.viewers) == 0 && time.Since(f.used) > feedKeep
}

// close gives the files free. They were only read.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		_ = f.file.Close()
	}
	_ = f.dir.Close()
}

// factsOf is what the record of a drill that goes on says of it.
func factsOf(rec drills.Record) live.Facts {
	ms := timeline.FromMS
	facts := live.Facts{Scenario: rec.Drill.Name, System: rec.System.Name, Kind: rec.System.Kind}
	for _, n := range rec.System.Nodes {
		facts.Nodes = append(facts.Nodes, live.Node{Name: n.Name, Role: n.Role})
	}
	var hold time.Duration
	for _, st := range rec.Scenario.Steps {
		hold = max(hold, ms(st.AtMS+st.ForMS))
	}
	facts.Phases = []live.Planned{{Name: "steady", For: ms(rec.Scenario.SteadyMS)}, {Name: "hold", For: hold}, {Name: "settle", For: ms(rec.Scenario.SettleMS), AtMost: true}}
	return facts
}

// look reads what is new, and tells it to the viewers.
func (f *feed) look(lockers func() map[string]journal.Locker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = time.Now()
	if f.end != "" {
		return
	}
	_, runs := lockers()[f.rec.Run] // before the record is read, see there
	f.read()
	if !runs {
		f.end = "died"
		if rec, err := readRecord(f.dir); err == nil {
			f.rec = rec
			if !rec.Finished.IsZero() {
				f.end = "finished"
			}
		}
		f.changed = true
	}
	if f.changed && len(f.viewers) > 0 {
		f.send(message{kind: "state", data: f.render(f, "state")})
		f.changed = false
	}
	if f.end != "" {
		f.send(message{kind: "end", data: f.render(f, "end")})
	}
}

// read takes in the lines of the timeline that are complete. One that is no event is
// left out here; the report says so.
func (f *feed) read() {
	if f.file == nil {
		file, err := f.dir.Open(reports.TimelineFile)
		if err != nil {
			return // it is not there yet
		}
		f.file = file
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.file.Read(buffer)
		f.rest = append(f.rest, buffer[:n]...)
		for {
			line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
			if !whole {
				break
			}
			f.add(line)
			f.rest = rest
		}
		f.rest = bytes.Clone(f.rest)
		if err != nil || n == 0 {
			return // the end, for now; also of a file that cannot be read
		}
	}
}

func (f *feed) add(line []byte) {
	var e timeline.Event
	if json.Unmarshal(line, &e) != nil {
		return
	}
	f.changed = true
	told, ok := f.story.Add(e)
	if !ok {
		return
	}
	f.lines = append(f.lines, told)
	if len(f.viewers) > 0 {
		f.send(f.line(len(f.lines) - 1))
	}
}

func (f *feed) line(i int) message {
	return message{kind: "line", id: i + 1, data: lineHTML(f.lines[i])}
}

// send tells it to every viewer; one that is too far behind is left.
func (f *feed) send(m message) {
	for v := range f.viewers {
		select {
		case v <- m:
		default:
			delete(f.viewers, v)
			close(v)
		}
	}
}

// watch adds a viewer that has seen the first lines. The channel is closed when the
// viewer is too far behind.
func (f *feed) watch(seen int) (messages chan message, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := max(0, len(f.lines)-max(0, seen))
	messages = make(chan message, feedBuffer+news)
	for i := len(f.lines) - news; i < len(f.lines); i++ {
		messages <- f.line(i)
	}
	messages <- message{kind: "state", data: f.render(f, "state")}
	if f.end != "" {
		messages <- message{kind: "end", data: f.render(f, "end")}
	}
	f.viewers[messages] = true
	return messages, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.viewers, messages)
	}
}

// follow looks again and again while there are viewers.
func (s *Server) follow(f *feed) {
	tick := time.NewTicker(feedLook)
	defer tick.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
		f.look(s.lockers)
		f.mu.Lock()
		over := len(f.viewers) == 0 || f.end != ""
		f.following = f.following && !over
		f.mu.Unlock()
		if over {
			return
		}
	}
}
