package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// A session is somebody who has signed in. It ends with the token, after its time,
// and with the server.
type session struct {
	token string // its hash
	ends  time.Time
}

// sessionFor is how long one need not sign in again.
const sessionFor = 12 * time.Hour

// maxSessions bounds how many there are; the one that ends first makes room.
const maxSessions = 1000

// sessions are kept in memory, by the hash of their secret.
type sessions struct {
	key [32]byte // for the tokens of forms

	mu  sync.Mutex
	all map[string]session
}

func newSessions() *sessions {
	s := &sessions{all: map[string]session{}}
	rand.Read(s.key[:]) // never fails (crypto/rand)
	return s
}

// begin makes a session for who holds the token with that hash.
func (s *sessions) begin(token string, now time.Time) (secret string) {
	secret = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	first := ""
	for id, other := range s.all {
		if now.After(other.ends) {
			delete(s.all, id)
		} else if first == "" || other.ends.Before(s.all[first].ends) {
			first = id
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, first)
	}
	s.all[hashOf(secret)] = session{token, now.Add(sessionFor)}
	return secret
}

func (s *sessions) find(secret string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, ok := s.all[hashOf(secret)]
	return got, ok && now.Before(got.ends)
}

func (s *sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, hashOf(secret))
}

// formToken is what a form of this session must bring back.
func (s *sessions) formToken(secret string) string {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write([]byte(secret))
	return hex.EncodeToString(mac.Sum(nil))
}

func (s *sessions) checkForm(secret, token string) bool {
	return hmac.Equal([]byte(s.formToken(secret)), []byte(token))
}
