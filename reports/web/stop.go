package web

import (
	"net/http"
	"net/url"
)

// stopForm is what a form that stops drills brings back, or "" for who may not.
func (s *Server) stopForm(r *http.Request) string {
	p := whoAsks(r)
	if p.session == "" || !p.may(Operator) {
		return ""
	}
	return s.sessions.formToken(p.session)
}

// stop does what `dapple stop` does: every drill of the home sees it within a quarter
// of a second, takes everything back, and ends as aborted. It is written down after
// it was done: nothing must keep it up.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	if !s.ours(w, r) {
		return
	}
	p := whoAsks(r)
	s.did(w, r, Entry{Did: "stop", What: "every drill of this home"}, s.c.Stop("stopped on the page by "+p.Name))
}

// lift lets drills begin again.
func (s *Server) lift(w http.ResponseWriter, r *http.Request) {
	if !s.ours(w, r) {
		return
	}
	s.did(w, r, Entry{Did: "lift", What: "drills may begin again"}, s.c.Clear())
}

// did writes down what was done, or why it was not, and leads back to the page on
// which that was asked for.
func (s *Server) did(w http.ResponseWriter, r *http.Request, e Entry, err error) {
	p := whoAsks(r)
	e.Who, e.Role, e.From, e.Outcome = p.Name, p.Role, p.From, done
	if err != nil {
		e.Outcome = err.Error()
	}
	s.note(r.Context(), e)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	to := "/"
	if run := r.PostFormValue("run"); run != "" {
		to = "/runs/" + url.PathEscape(run)
	}
	http.Redirect(w, r, local(to), http.StatusSeeOther)
}
