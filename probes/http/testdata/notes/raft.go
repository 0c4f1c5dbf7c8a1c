package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

type ballot struct {
	Term, LastTerm, Len int
	From                string
}

type batch struct {
	Term, At, AtTerm int // the entries follow the first At, whose last is of AtTerm
	From             string
	Entries          []entry
}

// verdict is a peer's answer: its term, and how much of its log is the leader's.
type verdict struct {
	Term, Len int
	OK        bool
}

func (n *node) call(peer, path string, in any) (v verdict, err error) {
	data, err := json.Marshal(in)
	if err != nil {
		return v, err
	}
	resp, err := n.calls.Post("http://"+n.l.Nodes[peer]+path, "application/json", bytes.NewReader(data))
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

func (n *node) campaign(term, lastTerm, length int) {
	votes := make(chan bool, len(n.peers))
	for _, p := range n.peers {
		go func() {
			v, err := n.call(p, "/vote", ballot{term, lastTerm, length, n.id})
			votes <- err == nil && v.OK
		}()
	}
	got := 1
	for range n.peers {
		if <-votes {
			got++
		}
		if got <= len(names)/2 {
			continue
		}
		n.mu.Lock()
		if n.state == "candidate" && n.term == term {
			n.state, n.leader, n.acks, n.echo = "leader", n.id, map[string]int{}, map[string]time.Time{}
			for _, p := range n.peers {
				n.echo[p] = n.now()
			}
		}
		n.mu.Unlock()
		return
	}
}

func (n *node) onVote(b ballot) verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Who hears a leader, or was one a moment ago, does not help to replace it.
	if n.state != "candidate" && n.leader != "" && time.Since(n.heard) < patience/2 {
		return verdict{Term: n.term}
	}
	if b.Term > n.term {
		n.follow(b.Term, "")
	}
	newer := b.LastTerm > n.lastTerm() || b.LastTerm == n.lastTerm() && b.Len >= len(n.log)
	ok := b.Term == n.term && newer && (n.voted == "-" || n.voted == b.From)
	if ok {
		n.vote(b.Term, b.From)
		n.heard = time.Now()
	}
	return verdict{Term: n.term, OK: ok}
}

// send brings a peer's log up to ours.
func (n *node) send(peer string, term int) {
	n.mu.Lock()
	if n.state != "leader" || n.term != term {
		n.mu.Unlock()
		return
	}
	upTo := n.passed()
	at := min(n.acks[peer], upTo)
	b := batch{Term: term, At: at, From: n.id, Entries: slices.Clone(n.log[at:upTo])}
	if at > 0 {
		b.AtTerm = n.log[at-1].Term
	}
	sent := n.now()
	n.mu.Unlock()
	v, err := n.call(peer, "/append", b)
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case v.Term > n.term:
		n.follow(v.Term, "")
		return
	case n.state != "leader" || n.term != term || !n.leads(): // a lease that is over is not renewed
		return
	}
	n.echo[peer] = sent
	switch {
	case v.OK:
		n.acks[peer] = max(n.acks[peer], v.Len)
		n.more.Broadcast()
	default:
		n.acks[peer] = 0
	}
}

// passed is how much of the log is passed on: all, or what is 300 ms old.
func (n *node) passed() int {
	const beats = 6
	if !n.bad["lose-tail"] || len(n.seen) < beats {
		return len(n.log)
	}
	return min(n.seen[len(n.seen)-beats], len(n.log))
}

func (n *node) onAppend(b batch) verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.Term < n.term || n.bad["deaf"] && n.fresh {
		return verdict{Term: n.term}
	}
	if b.Term > n.term || n.state != "follower" {
		n.follow(b.Term, b.From)
	}
	n.leader, n.heard = b.From, time.Now()
	if b.At > len(n.log) || b.At > 0 && n.log[b.At-1].Term != b.AtTerm {
		return verdict{Term: n.term}
	}
	have := n.log[b.At:]
	same := 0
	for same < len(have) && same < len(b.Entries) && have[same] == b.Entries[same] {
		same++
	}
	switch {
	case same == len(b.Entries):
	case same == len(have):
		n.append(b.Entries[same:]...)
	default:
		n.replace(append(slices.Clone(n.log[:b.At]), b.Entries...))
	}
	return verdict{Term: n.term, Len: b.At + len(b.Entries), OK: true}
}

// commit waits until a majority holds the log up to its present end. It must be
// called with the lock.
func (n *node) commit(end time.Time) bool {
	term, upTo := n.term, len(n.log)
	stop := time.AfterFunc(time.Until(end), n.more.Broadcast)
	defer stop.Stop()
	for _, p := range n.peers {
		go n.send(p, term)
	}
	for {
		held := 1
		for _, p := range n.peers {
			if n.acks[p] >= upTo {
				held++
			}
		}
		switch {
		case n.state != "leader" || n.term != term:
			return false
		case held > len(names)/2:
			return true
		case !time.Now().Before(end):
			return false
		}
		n.more.Wait()
	}
}

func (n *node) answer(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }
