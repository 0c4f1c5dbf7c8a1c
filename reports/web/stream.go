package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Times of a stream.
const (
	streamAlive    = 15 * time.Second // a sign of life, by which a broken connection is found
	streamPatience = 15 * time.Second // for one message to be taken
	streamAgain    = 2 * time.Second  // after which a browser comes back
)

// events is the stream of a drill that goes on (server-sent events, HTML Living
// Standard, 9.2). Its lines are numbered: who comes back gets what it has not seen.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	end, ok := s.limits.stream()
	if !ok {
		w.Header().Set("Retry-After", "10")
		s.fail(w, r, http.StatusServiceUnavailable, "Too many watch already. The page can be read without: reload it.")
		return
	}
	defer end()
	dir, base, err := s.openRun(r.PathValue("run"))
	if err != nil {
		s.noRun(w, r, err)
		return
	}
	if err := dir.Close(); err != nil {
		s.broken(w, r, err)
		return
	}
	f, err := s.feed(base)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	seen, err := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if err != nil {
		seen, err = strconv.Atoi(r.URL.Query().Get("after"))
	}
	if err != nil {
		seen = 0
	}
	messages, leave := f.watch(seen)
	defer leave()
	s.keepFollowing(f)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not wait for more
	s.pour(w, r, messages)
}

// keepFollowing has one goroutine follow the drill while anybody watches.
func (s *Server) keepFollowing(f *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.following && f.end == "" {
		f.following = true
		go s.follow(f)
	}
}

// pour writes messages until the drill has ended, the viewer is gone or may not read
// any more, or the server ends.
func (s *Server) pour(w http.ResponseWriter, r *http.Request, messages <-chan message) {
	out := http.NewResponseController(w)
	alive := time.NewTicker(streamAlive)
	defer alive.Stop()
	over := false
	text := fmt.Appendf(nil, "retry: %d\n\n", streamAgain.Milliseconds())
	for {
		if err := errors.Join(out.SetWriteDeadline(time.Now().Add(streamPatience)), write(w, text), out.Flush()); err != nil {
			return // the viewer is gone
		}
		if over {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.closing.Done():
			return
		case m, more := <-messages:
			if !more {
				return // too far behind: it comes back
			}
			text, over = m.text(), m.kind == "end"
		case <-alive.C:
			if p, err := s.person(r); err != nil || !p.may(Viewer) {
				return // signed out meanwhile, or the token was removed
			}
			text = []byte(": alive\n\n")
		}
	}
}

func write(w http.ResponseWriter, text []byte) error {
	_, err := w.Write(text)
	return err
}

// text is the message as it is sent: a line of data for each of its lines.
func (m message) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", m.kind)
	if m.id > 0 {
		fmt.Fprintf(&b, "id: %d\n", m.id)
	}
	for line := range bytes.Lines(m.data) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	b.WriteString("\n")
	return b.Bytes()
}
