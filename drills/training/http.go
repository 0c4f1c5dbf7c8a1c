package training

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/internal/durable"
)

// AccessFile is the file of a run directory that says how its training is reached, for
// the user who runs it alone. It is gone when the training is over.
const AccessFile = "training.json"

// An Access is what the file holds.
type Access struct {
	URL   string `json:"url"`
	Token string `json:"token"` // for the header Authorization: Bearer
}

// A Receiver is a desk that is reached by HTTP:
//
//	POST /stamp {"what": "acknowledged", "by": "ana", "note": "…"}
//	POST /pace  {"what": "next"}
//	POST /hint  {"by": "ana"}
//	GET  /state
//
// each with the token. Who is meant by "by" is believed: whoever has the token is
// trusted.
type Receiver struct {
	desk   *Desk
	token  string
	file   string
	server *http.Server
	done   chan error
}

// Listen makes a receiver at an address of this machine (host:port, 0 for a free one),
// and writes how it is reached into dir.
func Listen(ctx context.Context, address, dir string, d *Desk) (*Receiver, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for stamps: %w", err)
	}
	r := &Receiver{desk: d, token: rand.Text(), file: filepath.Join(dir, AccessFile), done: make(chan error, 1)}
	r.server = &http.Server{Handler: r.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, Addr: l.Addr().String()}
	data, err := json.Marshal(Access{"http://" + l.Addr().String(), r.token})
	if err == nil {
		err = durable.WriteFile(r.file, append(data, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("say how the training is reached: %w", err), l.Close())
	}
	go func() { r.done <- r.server.Serve(l) }()
	return r, nil
}

// Access is how it is reached.
func (r *Receiver) Access() Access { return Access{"http://" + r.server.Addr, r.token} }

// Close ends it, and what says how it was reached.
func (r *Receiver) Close() error {
	err := errors.Join(durable.Remove(r.file), r.server.Close())
	if serr := <-r.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// began marks when a request began, in its context.
type began struct{}

func (r *Receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stamp", r.say)
	mux.HandleFunc("POST /pace", r.say)
	mux.HandleFunc("POST /hint", r.hint)
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { answer(w, r.desk.State()) })
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at := time.Now()
		got, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(got), []byte(r.token)) != 1 {
			http.Error(w, "this takes the token of the training, as Authorization: Bearer", http.StatusUnauthorized)
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, 2*most)
		mux.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), began{}, at)))
	})
}

// understood reads a request; what is not asked for is left alone, so that a chat's
// webhook may send more.
func understood(w http.ResponseWriter, req *http.Request) (s Said, ok bool) {
	if err := json.NewDecoder(req.Body).Decode(&s); err != nil {
		http.Error(w, `this takes JSON: {"what": "acknowledged", "by": "ana", "note": "…"}`, http.StatusBadRequest)
		return s, false
	}
	s.Via = "webhook"
	if req.Header.Get(commandHeader) != "" {
		s.Via = "command"
	}
	s.Began, _ = req.Context().Value(began{}).(time.Time)
	return s, true
}

func (r *Receiver) say(w http.ResponseWriter, req *http.Request) {
	s, ok := understood(w, req)
	if !ok {
		return
	}
	if pace := s.What == Next || s.What == End; pace != (req.URL.Path == "/pace") {
		http.Error(w, fmt.Sprintf("%q is not for %s", s.What, req.URL.Path), http.StatusBadRequest)
		return
	}
	event, err := r.desk.Say(s)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, map[string]int{"event": event})
}

func (r *Receiver) hint(w http.ResponseWriter, req *http.Request) {
	s, ok := understood(w, req)
	if !ok {
		return
	}
	h, err := r.desk.Hint(s.By, s.Via)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, h)
}

func refuse(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusConflict)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}
