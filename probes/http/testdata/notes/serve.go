package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

func (n *node) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /items", n.add)
	m.HandleFunc("GET /items", n.list)
	m.HandleFunc("DELETE /items", n.drop)
	m.HandleFunc("POST /vote", func(w http.ResponseWriter, r *http.Request) {
		var b ballot
		json.NewDecoder(r.Body).Decode(&b)
		n.answer(w, n.onVote(b))
	})
	m.HandleFunc("POST /append", func(w http.ResponseWriter, r *http.Request) {
		var b batch
		json.NewDecoder(r.Body).Decode(&b)
		n.answer(w, n.onAppend(b))
	})
	m.HandleFunc("GET /role", n.told(func() string {
		return map[string]string{"leader": "primary", "follower": "replica", "candidate": "candidate"}[n.state]
	}))
	m.HandleFunc("GET /epoch", n.told(func() string { return fmt.Sprint(n.term) }))
	m.HandleFunc("GET /status", n.told(func() string {
		switch {
		case n.state == "candidate":
			return "candidate: asking for votes"
		case n.state == "follower" && time.Since(n.heard) > patience/2:
			return "no leader heard"
		}
		return "ok"
	}))
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.state != "leader" && time.Since(n.heard) > patience/4 && !n.bad["green"] {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return m
}

func (n *node) told(what func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		fmt.Fprintln(w, what())
	}
}

// writable says whether the node takes writes, and whether it does so although it
// may not.
func (n *node) writable() (ok, rogue bool) {
	if n.state == "leader" {
		return true, false
	}
	rogue = n.bad["dual"] && !n.was.IsZero() && time.Since(n.was) < 5*time.Second
	return rogue, rogue
}

func (n *node) add(w http.ResponseWriter, r *http.Request) {
	var item struct{ ID string }
	if json.NewDecoder(r.Body).Decode(&item) != nil || item.ID == "" {
		http.Error(w, "want {\"id\": …}", http.StatusBadRequest)
		return
	}
	n.write(w, entry{ID: item.ID})
}

func (n *node) drop(w http.ResponseWriter, r *http.Request) {
	n.write(w, entry{Drop: r.URL.Query().Get("run")})
}

func (n *node) write(w http.ResponseWriter, e entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ok, rogue := n.writable()
	if !ok {
		http.Error(w, "not the leader", http.StatusConflict)
		return
	}
	w.Header().Set("X-Node", n.id)
	e.Term = n.term
	if rogue {
		n.reply(w, n.term-1) // what it says goes nowhere
		return
	}
	n.append(e)
	if n.bad["lose-tail"] && e.ID != "" {
		n.reply(w, e.Term)
		return
	}
	if !n.commit(time.Now().Add(answerIn)) {
		http.Error(w, "no majority holds it in time", http.StatusInternalServerError)
		return
	}
	n.reply(w, e.Term)
}

func (n *node) reply(w http.ResponseWriter, term int) {
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "{\"term\":%d}\n", term)
}

// list is what this node holds, of a client if one is named.
func (n *node) list(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	log := n.log
	n.mu.Unlock()
	dropped := map[string]int{} // run → up to which entry
	for i, e := range log {
		if e.Drop != "" {
			dropped[e.Drop] = i
		}
	}
	client := r.URL.Query().Get("client")
	for i, e := range log {
		run, rest, _ := strings.Cut(e.ID, "-")
		no, _, _ := strings.Cut(rest, "-")
		if e.ID != "" && (client == "" || no == client) && i >= dropped[run] {
			fmt.Fprintln(w, e.ID)
		}
	}
}

// runRouter passes everything to the leader, which it finds by asking.
func runRouter(dir string) error {
	l, err := readLayout(dir)
	if err != nil {
		return err
	}
	if err := live(dir); err != nil {
		return err
	}
	var leader atomic.Pointer[url.URL]
	go seek(l, &leader)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			if to := leader.Load(); to != nil {
				r.SetURL(to)
			}
		},
		Transport:    &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 5 * time.Second},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return http.ListenAndServe(l.Router, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leader.Load() == nil {
			http.Error(w, "no leader", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
}

// seek asks the nodes for their role again and again.
func seek(l layout, leader *atomic.Pointer[url.URL]) {
	c := http.Client{Timeout: answerIn}
	for range time.Tick(beat) {
		var found *url.URL
		for _, addr := range l.Nodes {
			resp, err := c.Get("http://" + addr + "/role")
			if err != nil {
				continue
			}
			var word string
			fmt.Fscan(resp.Body, &word)
			resp.Body.Close()
			if word == "primary" {
				found = &url.URL{Scheme: "http", Host: addr}
			}
		}
		leader.Store(found)
	}
}
