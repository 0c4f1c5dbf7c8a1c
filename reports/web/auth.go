package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A person is who asks. Nobody has a name.
type person struct {
	Name    string
	Role    Role // "": may not even read
	From    string
	session string // its secret; "" if none
	bearer  bool   // the token came with the request: no cookie, so nothing to forge
}

// may says whether the role of p is enough.
func (p person) may(want Role) bool {
	return p.Role == want || p.Role == Operator && want == Viewer
}

type personKey struct{}

// whoAsks is the person of a request.
func whoAsks(r *http.Request) person {
	p, _ := r.Context().Value(personKey{}).(person)
	return p
}

// cookieName is bound to this host and to TLS where there is TLS (RFC 6265bis,
// 4.1.3.2).
func (s *Server) cookieName() string {
	if s.c.TLS {
		return "__Host-dapple"
	}
	return "dapple"
}

// known finds out who asks.
func (s *Server) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.person(r)
		if err != nil {
			fmt.Fprintf(s.c.Log, "dapple: %v\n", err)
			s.fail(w, r, http.StatusInternalServerError, "The tokens cannot be read, so nobody can be let in: see the log of dapple serve.")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, p)))
	})
}

func (s *Server) person(r *http.Request) (p person, err error) {
	p.From = address(r)
	if s.c.Open {
		p.Role = Viewer
	}
	if secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		t, found, err := s.tokens.byHash(hashOf(secret))
		if err != nil || !found {
			p.Role = ""
			return p, err
		}
		p.Name, p.Role, p.bearer = t.Name, t.Role, true
		return p, nil
	}
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return p, nil // none
	}
	got, ok := s.sessions.find(c.Value, time.Now())
	if !ok {
		return p, nil
	}
	t, found, err := s.tokens.byHash(got.token)
	if found {
		p.Name, p.Role, p.session = t.Name, t.Role, c.Value
	}
	return p, err
}

// only lets in who has the role. Whoever is nobody is asked to sign in.
func (s *Server) only(want Role, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := whoAsks(r)
		switch {
		case p.may(want):
			next(w, r)
		case p.Name == "" && r.Method == http.MethodGet && r.Header.Get("Authorization") == "":
			http.Redirect(w, r, "/signin?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		case p.Name == "":
			s.wrongToken(w, r)
		default:
			s.note(r.Context(), Entry{Who: p.Name, Role: p.Role, From: p.From, Did: "forbidden", What: r.Method + " " + clipped(r.URL.Path), Outcome: refused})
			s.fail(w, r, http.StatusForbidden, fmt.Sprintf("This is for the role %s, and %s is a %s.", want, p.Name, p.Role))
		}
	}
}

// wrongToken answers a program without a token, or with a wrong one, of which an
// address has few.
func (s *Server) wrongToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		if !s.limits.of(address(r)).signIns.Allow() {
			s.tooMany(w, r)
			return
		}
		s.note(r.Context(), Entry{From: address(r), Did: "sign in", What: "by a token in the request", Outcome: refused})
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="dapple"`)
	s.fail(w, r, http.StatusUnauthorized, "Sign in first.")
}

func (s *Server) tooMany(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "60")
	s.fail(w, r, http.StatusTooManyRequests, "Too many wrong tokens came from your address. Wait a minute.")
}

// signInPage asks for a token.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "signin", "Sign in", signInView{To: local(r.URL.Query().Get("to"))})
}

type signInView struct {
	To    string
	Wrong bool
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	to := local(r.PostFormValue("to"))
	if !s.limits.of(address(r)).signIns.Allow() {
		s.tooMany(w, r)
		return
	}
	t, ok, err := s.tokens.byHash(hashOf(strings.TrimSpace(r.PostFormValue("token"))))
	switch {
	case err != nil:
		s.broken(w, r, err)
		return
	case !ok:
		s.note(r.Context(), Entry{From: address(r), Did: "sign in", Outcome: refused})
		s.show(w, r, http.StatusForbidden, "signin", "Sign in", signInView{To: to, Wrong: true})
		return
	}
	s.note(r.Context(), Entry{Who: t.Name, Role: t.Role, From: address(r), Did: "sign in", Outcome: done})
	s.setCookie(w, s.sessions.begin(t.SHA256, time.Now()), int(sessionFor.Seconds()))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	p := whoAsks(r)
	if p.session != "" {
		if !s.ours(w, r) {
			return
		}
		s.sessions.end(p.session)
		s.note(r.Context(), Entry{Who: p.Name, Role: p.Role, From: p.From, Did: "sign out", Outcome: done})
	}
	s.setCookie(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: s.c.TLS, SameSite: http.SameSiteStrictMode,
	})
}

// local is a path of ours, and nothing that leads elsewhere.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// ours says whether a form was one of ours: it brings back what only a page of this
// session could tell it. That the request comes from our pages at all is asked by
// http.CrossOriginProtection before.
func (s *Server) ours(w http.ResponseWriter, r *http.Request) bool {
	p := whoAsks(r)
	if p.bearer || p.session != "" && s.sessions.checkForm(p.session, r.PostFormValue("form")) {
		return true
	}
	s.note(r.Context(), Entry{Who: p.Name, Role: p.Role, From: p.From, Did: "forbidden", What: "a form of another page: " + clipped(r.URL.Path), Outcome: refused})
	s.fail(w, r, http.StatusForbidden, "This form is not of a page of yours, or is too old. Go back, reload the page, and try again.")
	return false
}

// named refuses names that are not ours: a name elsewhere that points here would
// let its pages read ours.
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if len(s.c.Hosts) > 0 && !slices.Contains(s.c.Hosts, host) {
			s.fail(w, r, http.StatusMisdirectedRequest, "These pages are not served under that name. Whoever serves them can add it with --host.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// clipped bounds what a stranger may write into the audit log.
func clipped(text string) string {
	if r := []rune(text); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return text
}
