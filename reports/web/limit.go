package web

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How much one address may ask for. A page is a request, its style and its script;
// a person who reloads it all the time stays far below. Wrong tokens are few.
const (
	perSecond   = 20
	burst       = 100
	signInEvery = 6 * time.Second
	signInBurst = 5
	maxStreams  = 200 // of all viewers together
	maxClients  = 4096
)

// limits bounds what an address, and all of them together, may ask for.
type limits struct {
	mu      sync.Mutex
	clients map[string]*client
	streams int
}

type client struct {
	requests *rate.Limiter
	signIns  *rate.Limiter
	seen     time.Time
}

func newLimits() *limits { return &limits{clients: map[string]*client{}} }

// of finds the limits of an address. When there are too many, those that were not
// heard of for longest are forgotten.
func (l *limits) of(addr string) *client {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[addr]
	if c == nil {
		if len(l.clients) >= maxClients {
			l.forget()
		}
		c = &client{requests: rate.NewLimiter(perSecond, burst), signIns: rate.NewLimiter(rate.Every(signInEvery), signInBurst)}
		l.clients[addr] = c
	}
	c.seen = time.Now()
	return c
}

func (l *limits) forget() {
	oldest := ""
	for addr, c := range l.clients {
		if time.Since(c.seen) > time.Hour {
			delete(l.clients, addr)
		} else if oldest == "" || c.seen.Before(l.clients[oldest].seen) {
			oldest = addr
		}
	}
	delete(l.clients, oldest)
}

// stream counts one more stream, if there may be one.
func (l *limits) stream() (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams >= maxStreams {
		return nil, false
	}
	l.streams++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.streams--
	}, true
}

// address is who asks: an IPv4 address, or the network of an IPv6 one, of which one
// client has as many as it likes. What a proxy says of its clients is not believed.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.To4() != nil {
		return host
	}
	return ip.Mask(net.CIDRMask(64, 128)).String() + "/64"
}

// limited refuses what is too much.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.limits.of(address(r)).requests.Allow() {
			w.Header().Set("Retry-After", "5")
			s.fail(w, r, http.StatusTooManyRequests, "Too many requests came from your address. Wait some seconds.")
			return
		}
		next.ServeHTTP(w, r)
	})
}
