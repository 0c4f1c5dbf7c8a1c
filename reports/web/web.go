// Package web is the pages of `dapple serve`: the drill that runs, the game-day
// board, the history, trends, the checklist, and who did what.
//
// Pages are made on the server, and all of them work without their script. The
// package only reads a home ($DAPPLE_HOME): what a drill writes as it runs is read
// from its files, so that no viewer is felt by its process. The one thing that it
// does is what `dapple stop` does, for an operator; that is handed in, and the drill
// takes everything back by itself.
package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/drills/trend"
)

// A Config says whose pages these are, and who may see them.
type Config struct {
	Home    string
	Version string
	// Open lets whoever can connect read without signing in. It is for loopback.
	Open bool
	// Hosts are the names by which the pages may be asked for; none: any. They keep
	// a page elsewhere from reading ours by a name that it makes point here.
	Hosts []string
	// TLS says that browsers come over TLS, so that no cookie travels without.
	TLS bool
	// Tokens is the file of the tokens; it need not be there.
	Tokens string
	Source Source
	// Stop ends every drill of the home at once; Clear lets them begin again.
	Stop  func(why string) error
	Clear func() error
	Log   io.Writer // for what kept the server from its work
}

// A Source answers what is asked of the history and the schedules. Notes are what a
// reader should know of an answer: a database that cannot be used, for one.
type Source interface {
	Runs(ctx context.Context) (runs []history.Run, broken []history.Broken, notes []string, err error)
	Trends(ctx context.Context, q history.Query, metric string) (trend.Trends, error)
	Checklist(ctx context.Context, quarter string) (*checklist.Checklist, error)
	Schedules(ctx context.Context) (planned []Planned, notes []string, err error)
}

// A Server answers for one home.
type Server struct {
	c        Config
	pages    pages
	tokens   *tokenFile
	sessions *sessions
	limits   *limits
	audit    *audit
	feeds    feeds
	answers  answers
	closing  context.Context // ends when the streams must
	close    context.CancelFunc
}

// New makes a server. ctx bounds what it does beside requests.
func New(ctx context.Context, c Config) (*Server, error) {
	p, err := newPages()
	if err != nil {
		return nil, err
	}
	a, err := openAudit(c.Home)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, pages: p, tokens: &tokenFile{path: c.Tokens}, sessions: newSessions(), limits: newLimits(), audit: a, feeds: feeds{all: map[string]*feed{}}}
	s.closing, s.close = context.WithCancel(ctx)
	return s, nil
}

// Times of the server. A stream of events has deadlines of its own.
const (
	headerPatience = 5 * time.Second
	readPatience   = 10 * time.Second
	writePatience  = 60 * time.Second // a checklist hashes every record that it names
	idlePatience   = 2 * time.Minute
	endPatience    = 10 * time.Second
	maxHeader      = 16 << 10
	maxBody        = 16 << 10
)

// Serve answers on l until ctx ends, then lets the requests end that are being
// answered.
func (s *Server) Serve(ctx context.Context, l net.Listener) (err error) {
	hs := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerPatience, ReadTimeout: readPatience,
		WriteTimeout: writePatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.c.Log, nil), slog.LevelWarn), BaseContext: func(net.Listener) context.Context { return s.closing },
	}
	s.note(ctx, Entry{Did: "serve", What: "at " + l.Addr().String(), Outcome: done})
	ended := make(chan error, 1)
	go func() { ended <- hs.Serve(l) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		s.close()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer cancel()
		if err = hs.Shutdown(end); err != nil {
			err = errors.Join(fmt.Errorf("end what is being answered: %w", err), hs.Close())
		}
		<-ended
	}
	s.close()
	s.note(context.WithoutCancel(ctx), Entry{Did: "end", What: "the pages are not served any more", Outcome: done})
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.audit.Close())
}

// answers keeps what is costly to ask for a moment, so that many viewers are no more
// work than one.
type answers struct {
	mu   sync.Mutex
	kept map[string]answer
}

type answer struct {
	at    time.Time
	value any
}

// keep is how old an answer may be.
const keep = 2 * time.Second

// maxKept bounds how many are kept at a time.
const maxKept = 64

// once asks for what is named by key, unless it was asked for a moment ago. Only one
// asks at a time: the history is on a disk on which drills write.
func once[T any](a *answers, key string, ask func() (T, error)) (T, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if got, ok := a.kept[key]; ok && time.Since(got.at) < keep {
		if v, ok := got.value.(T); ok {
			return v, nil
		}
	}
	v, err := ask()
	if err != nil {
		return v, err
	}
	if a.kept == nil || len(a.kept) >= maxKept {
		a.kept = map[string]answer{}
	}
	a.kept[key] = answer{time.Now(), v}
	return v, nil
}
