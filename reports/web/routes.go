package web

import (
	"net/http"
)

// Handler answers every request.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	read := func(pattern string, h http.HandlerFunc) { mux.HandleFunc("GET "+pattern, s.only(Viewer, h)) }
	read("/{$}", s.now)
	read("/board", s.board)
	read("/history", s.history)
	read("/runs/{run}", s.run)
	read("/runs/{run}/events", s.events)
	read("/runs/{run}/{file}", s.file)
	read("/trends", s.trends)
	read("/checklist", s.checklist)
	read("/audit", s.auditPage)
	read("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, "There is no such page.")
	})
	mux.HandleFunc("POST /stop", s.only(Operator, s.stop))
	mux.HandleFunc("POST /lift", s.only(Operator, s.lift))
	mux.HandleFunc("GET /signin", s.signInPage)
	mux.HandleFunc("POST /signin", s.signIn)
	mux.HandleFunc("POST /signout", s.signOut)
	mux.HandleFunc("GET /assets/{version}/{file}", s.asset)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // who asked is gone if not
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := whoAsks(r)
		s.note(r.Context(), Entry{Who: p.Name, Role: p.Role, From: p.From, Did: "forbidden", What: "a request of another site: " + clipped(r.URL.Path), Outcome: refused})
		s.fail(w, r, http.StatusForbidden, "This request comes from another site.")
	}))
	return s.headed(s.named(s.limited(s.known(cross.Handler(bounded(mux))))))
}

// policy lets a page have what we serve and nothing else; no script and no style
// stands in a page itself.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// headed sets what every answer has.
func (s *Server) headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with none, a browser would not say that a form is ours
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if s.c.TLS {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// bounded keeps a form from being of any length.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}
