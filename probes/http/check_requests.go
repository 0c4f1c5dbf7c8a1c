package http

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

func (c *checker) write(p *Write) *write {
	if p == nil {
		c.wrong("write", `write: {method: POST, path: /items, body: '{"id":"{{.ID}}"}', acked: [201], refused: [409, 503]}`, "it is missing: nothing could be measured")
		return nil
	}
	before := len(c.errs)
	w := &write{request: c.request("write", p.Request, "POST", ofWrite)}
	w.acked = c.statuses("write.acked", p.Acked, []int{200, 201, 204})
	w.refused = c.statuses("write.refused", p.Refused, nil)
	for i, s := range p.Refused {
		if slices.Contains(w.acked, s) {
			c.wrong(fmt.Sprintf("write.refused[%d]", i), "a status promises one of the two; where it can mean both, leave it out of both: the write is then unknown", "%d is among acked too", s)
		}
	}
	w.taker = c.told("write.taker", p.Taker)
	w.epoch = c.told("write.epoch", p.Epoch)
	if len(c.errs) == before {
		c.carriesID(w)
	}
	return w
}

// carriesID finds out whether a write arrives with its id: only by that can it be
// found again.
func (c *checker) carriesID(w *write) {
	path, body, headers, err := w.render(sample)
	if err != nil {
		c.wrongErr("write", err)
		return
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		plain = path
	}
	all := path + "\n" + plain + "\n" + body
	for _, h := range headers {
		all += "\n" + h[1]
	}
	switch {
	case strings.Contains(all, sample.ID):
	case w.uses("ID"):
		c.wrong("write", `put {{.ID}} in as it is: '{"id":"{{.ID}}"}'`, "its id is lost: with the id %s this is sent: %s %s", sample.ID, path, body)
	default:
		c.wrong("write", `put it into path, body or a header: '{"id":"{{.ID}}"}'`, "no {{.ID}} is in it: a write could not be found again")
	}
}

func (c *checker) told(at string, p *Told) *told {
	switch {
	case p == nil:
		return nil
	case (p.Header == "") == (p.JSON == ""):
		c.wrong(at, "write {header: X-Node} or {json: $.node}", "say either header or json")
		return nil
	case p.Header != "" && !headerName.MatchString(p.Header):
		c.wrong(at+".header", "", "%q cannot be the name of a header", p.Header)
		return nil
	case p.Header != "":
		return &told{header: canonicalHeader(p.Header)}
	}
	return &told{json: c.jsonPath(at+".json", p.JSON)}
}

func (c *checker) ids(p *IDs) *ids {
	if p == nil {
		return nil
	}
	x := &ids{request: c.request("ids", p.Request, "GET", ofIDs)}
	c.hasAnswer("ids", x.request)
	switch {
	case p.Lines == (p.JSON != ""):
		hint := `write lines: true for one id a line, or json: "$.items[*].id"`
		if p.Lines {
			c.wrong("ids.json", "keep one of them", "lines and json exclude each other")
		} else {
			c.wrong("ids", hint, "nothing says how the ids stand in the answer")
		}
	case p.JSON != "":
		x.json = c.jsonPath("ids.json", p.JSON)
		if x.json != nil && !slices.ContainsFunc(x.json, func(s step) bool { return s.any }) {
			c.wrong("ids.json", "write [*] where the list is: $.items[*].id", "%q leads to one value and to no list", p.JSON)
		}
	}
	return x
}

func (c *checker) answer(at string, p *Answer) *answer {
	if p == nil {
		return nil
	}
	a := &answer{request: c.request(at, p.Request, "GET", ofNode)}
	c.hasAnswer(at, a.request)
	if p.JSON != "" {
		a.json = c.jsonPath(at+".json", p.JSON)
	}
	return a
}

func (c *checker) role(p *Role) *role {
	if p == nil {
		return nil
	}
	r := &role{answer: *c.answer("role", &p.Answer), primary: strings.TrimSpace(p.Primary), replica: strings.TrimSpace(p.Replica)}
	switch {
	case r.primary == "":
		c.wrong("role", `add primary: the text that a primary answers`, "primary is missing")
	case r.primary == r.replica:
		c.wrong("role.replica", "it must be another text than that of a primary", "%q is what a primary answers", p.Replica)
	}
	return r
}

func (c *checker) detect(p *Detect) *detect {
	if p == nil {
		return nil
	}
	d := &detect{request: c.request("detect", p.Request, "GET", ofNode)}
	c.hasAnswer("detect", d.request)
	const hint = `write the words that the service shows when it knows: matches: "degraded|failover"`
	if p.Matches == "" {
		c.wrong("detect", hint, "matches is missing")
		return d
	}
	x, err := regexp.Compile(p.Matches)
	switch {
	case err != nil:
		c.wrong("detect.matches", "the syntax is that of RE2: https://golang.org/s/re2syntax", "%q is no regular expression: %v", p.Matches, err)
	case x.MatchString(""):
		c.wrong("detect.matches", hint, "%q matches an empty answer, and so every one", p.Matches)
	default:
		d.matches = x
	}
	return d
}

func (c *checker) health(p *Health) *health {
	if p == nil {
		return nil
	}
	return &health{request: c.request("health", p.Request, "GET", ofNode), ok: c.statuses("health.ok", p.OK, []int{200})}
}
