package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/durable"
)

// An Entry is one thing that somebody did, or was kept from doing, on the pages.
type Entry struct {
	At      time.Time `json:"at"`
	Who     string    `json:"who,omitempty"` // "" is nobody who has signed in
	Role    Role      `json:"role,omitempty"`
	From    string    `json:"from,omitempty"` // the address
	Did     string    `json:"did"`            // serve, end, sign in, sign out, stop, lift, forbidden
	What    string    `json:"what,omitempty"`
	Outcome string    `json:"outcome"` // done, refused, or what went wrong
}

// The outcomes of an Entry that are no errors.
const (
	done    = "done"
	refused = "refused"
)

// AuditFile is where the entries are: a line of JSON each, only ever appended.
func AuditFile(home string) string { return filepath.Join(home, "audit.jsonl") }

// An audit appends entries.
type audit struct {
	mu  sync.Mutex
	out *os.File
}

func openAudit(home string) (*audit, error) {
	if err := durable.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(AuditFile(home), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &audit{out: out}, nil
}

// write appends e, and returns when it is on the disk.
func (a *audit) write(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.out.Write(append(line, '\n')); err != nil {
		return err
	}
	return a.out.Sync()
}

func (a *audit) Close() error { return a.out.Close() }

// note writes an entry. One that cannot be written is told to the log, and keeps
// nobody from a stop: an unrecorded stop is better than a fault that goes on.
func (s *Server) note(_ context.Context, e Entry) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if err := s.audit.write(e); err != nil {
		fmt.Fprintf(s.c.Log, "dapple: the audit log could not be written: %v; it would have said: %s %s %s: %s\n", err, e.Who, e.Did, e.What, e.Outcome)
	}
}

// auditTail is how much of the end of the log is shown at most.
const auditTail = 256 << 10

// readAudit returns the last entries, newest first, at most n. A line that is none,
// as after a crash, is left out.
func readAudit(home string, n int) (entries []Entry, err error) {
	f, err := os.Open(AuditFile(home))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	from := max(0, size-auditTail)
	data, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return nil, err
	}
	if from > 0 {
		_, data, _ = bytes.Cut(data, []byte("\n")) // the rest of a line
	}
	for line := range bytes.Lines(data) {
		var e Entry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	slices.Reverse(entries)
	return entries[:min(n, len(entries))], nil
}
