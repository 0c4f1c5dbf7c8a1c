package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Timing: a follower that hears nothing for a time drawn from [patience,
// 2·patience) asks for votes.
const (
	beat     = 50 * time.Millisecond
	patience = 1500 * time.Millisecond
	lease    = 2 * patience // of a leader, since a majority answered
	answerIn = 2 * time.Second
)

// An entry is a write, or the removal of a run.
type entry struct {
	Term int
	ID   string `json:",omitempty"`
	Drop string `json:",omitempty"`
}

type node struct {
	id    string
	dir   string
	l     layout
	bad   map[string]bool
	peers []string
	calls *http.Client

	mu     sync.Mutex
	term   int
	voted  string
	state  string // leader, follower, candidate
	leader string
	log    []entry
	file   *os.File  // the log on disk, as JSON lines
	heard  time.Time // from a leader, or a vote given
	wait   time.Duration
	acks   map[string]int       // leader: how much of the log a peer holds
	echo   map[string]time.Time // leader: when that was sent to which a peer answered last
	more   *sync.Cond           // acks or term changed
	was    time.Time            // it was leader until then
	fresh  bool                 // it was started with an empty or an old log; see deaf
	seen   []int                // how long the log was at each of the last beats; see lose-tail
}

func runNode(dir, id string, bad map[string]bool) error {
	l, err := readLayout(dir)
	if err != nil {
		return err
	}
	n := &node{id: id, dir: dir, l: l, bad: bad, state: "follower", heard: time.Now(), calls: &http.Client{Timeout: answerIn}}
	n.more = sync.NewCond(&n.mu)
	n.draw()
	for _, p := range names {
		if p != id {
			n.peers = append(n.peers, p)
		}
	}
	if err := n.load(); err != nil {
		return err
	}
	if err := live(dir); err != nil {
		return err
	}
	if err := os.WriteFile(pidFile(dir, id), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return err
	}
	go n.tick()
	return http.ListenAndServe(l.Nodes[id], n.routes())
}

func (n *node) path(what string) string { return filepath.Join(n.dir, n.id+"."+what) }

// load reads what an earlier life of the node left.
func (n *node) load() error {
	if data, err := os.ReadFile(n.path("vote")); err == nil {
		n.fresh = true
		fmt.Sscan(string(data), &n.term, &n.voted)
	}
	data, err := os.ReadFile(n.path("log"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range strings.Lines(string(data)) {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil {
			n.log = append(n.log, e)
		}
	}
	n.file, err = os.OpenFile(n.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

// append adds to the log, in memory and on disk.
func (n *node) append(es ...entry) {
	for _, e := range es {
		line, _ := json.Marshal(e)
		n.file.Write(append(line, '\n'))
	}
	n.log = append(n.log, es...)
}

// replace writes the log anew: it was not that of the leader.
func (n *node) replace(es []entry) {
	n.file.Truncate(0)
	n.log = nil
	n.append(es...)
}

// vote keeps the term and the vote, so that no life of the node votes twice.
func (n *node) vote(term int, for_ string) {
	n.term, n.voted = term, for_
	os.WriteFile(n.path("vote"), fmt.Appendf(nil, "%d %s", term, for_), 0o600)
}

func (n *node) draw() { n.wait = patience + rand.N(patience) }

// follow is what a node does on a term above its own.
func (n *node) follow(term int, leader string) {
	if n.state == "leader" {
		n.was = time.Now()
	}
	if term > n.term {
		n.vote(term, "-")
	}
	n.state, n.leader = "follower", leader
	n.more.Broadcast()
}

func (n *node) tick() {
	for range time.Tick(beat) {
		n.mu.Lock()
		n.seen = append(n.seen, len(n.log))
		switch {
		case n.state == "leader" && !n.leads():
			n.follow(n.term, "")
			n.heard = time.Now()
		case n.state == "leader":
			for _, p := range n.peers {
				go n.send(p, n.term)
			}
		case time.Since(n.heard) > n.wait:
			n.state, n.leader, n.heard = "candidate", "", time.Now()
			n.vote(n.term+1, n.id)
			n.draw()
			go n.campaign(n.term, n.lastTerm(), len(n.log))
		}
		n.mu.Unlock()
	}
}

// now is by the clock with which the lease is counted.
func (n *node) now() time.Time {
	if n.bad["wall-clock"] {
		return time.Now().Round(0) // without its monotonic reading
	}
	return time.Now()
}

// leads says whether the leader's lease has not ended.
func (n *node) leads() bool {
	fresh := 1
	for _, p := range n.peers {
		if n.now().Sub(n.echo[p]) < lease {
			fresh++
		}
	}
	return fresh > len(names)/2
}

func (n *node) lastTerm() int {
	if len(n.log) == 0 {
		return 0
	}
	return n.log[len(n.log)-1].Term
}
