package http

import (
	"fmt"
	"maps"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A service is a section that was found right: requests ready to be made.
type service struct {
	url    string // of a node, with {node}
	write  *write
	ids    *ids
	role   *role
	epoch  *answer
	detect *detect
	health *health
	clean  *request
}

type request struct {
	method     string
	path, body text
	headers    []header
	timeout    time.Duration // 0: not declared
}

type header struct {
	name  string
	value text
}

type write struct {
	request
	acked, refused []int
	taker, epoch   *told
}

// A told is where an answer tells something: in a header, or in its JSON.
type told struct {
	header string
	json   path
}

type ids struct {
	request
	json path // nil: one a line
}

type answer struct {
	request
	json path // nil: the whole body
}

type role struct {
	answer
	primary, replica string
}

type detect struct {
	request
	matches *regexp.Regexp
}

type health struct {
	request
	ok []int
}

// uses says whether any of the request's templates uses a value.
func (r request) uses(name string) bool {
	texts := []text{r.path, r.body}
	for _, h := range r.headers {
		texts = append(texts, h.value)
	}
	return slices.ContainsFunc(texts, func(x text) bool { return slices.Contains(x.uses, name) })
}

// render writes the request out for v; headers are pairs.
func (r request) render(v values) (path, body string, headers [][2]string, err error) {
	if path, err = r.path.render(v); err != nil {
		return "", "", nil, fmt.Errorf("path: %w", err)
	}
	if body, err = r.body.render(v); err != nil {
		return "", "", nil, fmt.Errorf("body: %w", err)
	}
	for _, h := range r.headers {
		value, err := h.value.render(v)
		if err != nil {
			return "", "", nil, fmt.Errorf("header %s: %w", h.name, err)
		}
		headers = append(headers, [2]string{h.name, value})
	}
	return path, body, headers, nil
}

func (r request) String() string { return r.method + " " + r.path.whole }

// idOf is the id of a write. It is made of letters, digits, "_" and "-" only, so
// that it may stand in a URL, in JSON and in a header as it is.
func idOf(run string, client int, seq uint64) string {
	return run + "-" + strconv.Itoa(client) + "-" + strconv.FormatUint(seq, 10)
}

// parseID is the inverse of idOf for one run; ok is false for anything else that
// the service may hold.
func parseID(run, id string) (client int, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(id, run+"-")
	no, s, cut := strings.Cut(rest, "-")
	if !ok || !cut {
		return 0, 0, false
	}
	if !decimal(no) || !decimal(s) {
		return 0, 0, false
	}
	client, err := strconv.Atoi(no)
	if err != nil {
		return 0, 0, false
	}
	seq, err = strconv.ParseUint(s, 10, 64)
	return client, seq, err == nil
}

// decimal says whether s is a number as idOf writes it.
func decimal(s string) bool {
	return s != "" && (s == "0" || s[0] != '0') && strings.Trim(s, "0123456789") == ""
}

func canonicalHeader(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
