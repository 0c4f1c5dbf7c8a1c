package http

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// A checker finds all that is wrong with a section, by its path.
type checker struct{ errs []error }

// Check is every problem of a section that decode reads; each is a diag.Field,
// or comes from decode.
func Check(decode func(into any) error) error {
	_, err := compile(decode)
	return err
}

func (c *checker) wrong(path, hint, msg string, args ...any) {
	c.errs = append(c.errs, &diag.Field{Path: path, Msg: fmt.Sprintf(msg, args...), Hint: hint})
}

func (c *checker) wrongErr(path string, err error) {
	if err != nil {
		c.wrong(path, strings.Join(diag.Hints(err), "; "), "%s", err.Error())
	}
}

// compile reads a section and makes requests of it.
func compile(decode func(into any) error) (*service, error) {
	var p Params
	if err := decode(&p); err != nil {
		return nil, err
	}
	c := &checker{}
	s := &service{url: p.URL}
	c.url(p.URL)
	s.write = c.write(p.Write)
	s.ids = c.ids(p.IDs)
	s.role = c.role(p.Role)
	s.epoch = c.answer("epoch", p.Epoch)
	s.detect = c.detect(p.Detect)
	s.health = c.health(p.Health)
	if p.Clean != nil {
		r := c.request("clean", *p.Clean, "DELETE", ofClean)
		s.clean = &r
	}
	return s, errors.Join(c.errs...)
}

func (c *checker) url(text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(strings.ReplaceAll(text, "{node}", "node"))
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		c.wrong("url", `write it as "http://{node}:8080"`, "this is no http or https URL")
	case !strings.Contains(text, "{node}"):
		c.wrong("url", `write it as "http://{node}:8080"`, "it is the same for all nodes: {node} is missing")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		c.wrong("url", "the paths and queries stand in the requests", "only the beginning of a URL stands here")
	}
}

// method is what HTTP allows as one (RFC 9110, 9.1), in the usual capitals.
var method = regexp.MustCompile(`^[A-Z]+(-[A-Z]+)*$`)

// headerName is a token (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// framing are the headers that belong to the connection.
var framing = []string{"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Keep-Alive", "Expect"}

// secret are the headers that carry one.
var secret = []string{"Authorization", "Proxy-Authorization", "Cookie"}

func (c *checker) request(at string, p Request, usual string, names []string) request {
	r := request{method: p.Method, timeout: p.Timeout}
	if r.method == "" {
		r.method = usual
	}
	if !method.MatchString(r.method) {
		c.wrong(at+".method", "write it as "+strings.ToUpper(usual), "%q is no method", p.Method)
	}
	if p.Timeout < 0 {
		c.wrong(at+".timeout", "leave the sign out", "it is negative")
	}
	c.path(at, &r, p.Path, names)
	r.body = c.text(at+".body", p.Body, names)
	for _, name := range sortedKeys(p.Headers) {
		path := at + ".headers." + name
		canonical := canonicalHeader(name)
		switch {
		case !headerName.MatchString(name):
			c.wrong(path, "", "%q cannot be the name of a header", name)
		case slices.Contains(secret, canonical):
			c.errs = append(c.errs, &diag.Field{Path: path, Secret: true, Msg: "a secret does not stand in the file",
				Hint: "declare clients: {password: {env: NAME_OF_A_VARIABLE}}: it is sent as a bearer token, or with the user of clients.url; and change the one that stood here"})
		case slices.Contains(framing, canonical):
			c.wrong(path, "leave it out", "the header %s belongs to the connection", canonical)
		default:
			r.headers = append(r.headers, header{canonical, c.text(path, p.Headers[name], names)})
		}
	}
	return r
}

func (c *checker) path(at string, r *request, path string, names []string) {
	switch {
	case path == "":
		c.wrong(at, "add path: /…", "path is missing")
		return
	case !strings.HasPrefix(path, "/"):
		c.wrong(at+".path", "write it as /items?client={{.Client}}", "%q does not begin with a slash", path)
		return
	}
	r.path = c.text(at+".path", path, names)
	if r.path.whole == "" {
		return
	}
	got, err := r.path.render(sample)
	if err != nil {
		c.wrongErr(at+".path", err)
		return
	}
	if _, err := url.ParseRequestURI(got); err != nil || strings.ContainsAny(got, " \t\r\n#") {
		c.wrong(at+".path", "write a space as %20, and other odd characters by {{urlquery …}}", "%q is no path of a URL", got)
	}
}

// text reads a template; the zero text stands for one that is wrong.
func (c *checker) text(at, source string, names []string) text {
	x, err := newText(source, names)
	if err == nil {
		_, err = x.render(sample)
	}
	if err != nil {
		c.wrongErr(at, err)
		return text{}
	}
	return x
}

// sample is a write as there will be; templates are tried with it.
var sample = values{Run: "01kb2t5w8zq4m3n7v6x9y0d1e2_1", Client: 3, Seq: 41, ID: idOf("01kb2t5w8zq4m3n7v6x9y0d1e2_1", 3, 41), Node: "a"}

// withoutBody are the methods whose answers have none.
func (c *checker) hasAnswer(at string, r request) {
	if r.method == "HEAD" {
		c.wrong(at+".method", "use GET", "an answer to HEAD has no body")
	}
}

func (c *checker) statuses(at string, given, usual []int) []int {
	for i, s := range given {
		if s < 200 || s > 599 {
			c.wrong(fmt.Sprintf("%s[%d]", at, i), "the statuses of an answer are 200 to 599", "%d is no status of an answer", s)
		}
	}
	if len(given) == 0 {
		return usual
	}
	return given
}

func (c *checker) jsonPath(at, text string) path {
	p, err := parsePath(text)
	c.wrongErr(at, err)
	return p
}
