package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/targets"
)

// ask bounds one request of which nobody waits for the width.
const askWithin = 2 * time.Second

// limit is far above what the API answers for a cluster of hundreds of members.
const limit = 4 << 20 // bytes

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
			DialContext: (&net.Dialer{}).DialContext,
		},
		// A redirect would be somebody else's answer.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get asks a member. Patroni answers some requests with a status that is a
// verdict and not an error; the body counts.
func (s *System) get(ctx context.Context, n targets.Node, path string) ([]byte, error) {
	addr, err := s.Address(ctx, n)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(addr, strconv.Itoa(s.port))+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.rest.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("GET %s of %s: %w", path, n.Name(), err)
	}
	if resp.StatusCode != http.StatusOK && path != "/patroni" {
		return nil, fmt.Errorf("GET %s of %s: %s", path, n.Name(), resp.Status)
	}
	return body, nil
}

// first asks all members at once and returns the first good answer.
func first[T any](ctx context.Context, s *System, path string, parse func([]byte) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	type answer struct {
		v   T
		err error
	}
	answers := make(chan answer, len(s.nodes))
	for _, n := range s.nodes {
		go func() {
			body, err := s.get(ctx, n, path)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			v, err := parse(body)
			answers <- answer{v, err}
		}()
	}
	var zero T
	errs := []error{errors.New("no member's REST API gave an answer")}
	for range s.nodes {
		a := <-answers
		if a.err == nil {
			return a.v, nil
		}
		errs = append(errs, a.err)
	}
	return zero, errors.Join(errs...)
}

// A cluster is GET /cluster.
type cluster struct {
	Members []member `json:"members"`
	Pause   bool     `json:"pause"`
}

type member struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	State    string `json:"state"`
	Host     string `json:"host"`
	Timeline int64  `json:"timeline"`
}

// leader is the name of the member that holds the lock, or "".
func (c *cluster) leader() string {
	for _, m := range c.Members {
		if m.Role == "leader" || m.Role == "standby_leader" {
			return m.Name
		}
	}
	return ""
}

func parseCluster(body []byte) (*cluster, error) {
	var c cluster
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("reading /cluster: %w", err)
	}
	if len(c.Members) == 0 {
		return nil, errors.New("reading /cluster: it names no members")
	}
	for _, m := range c.Members {
		if m.Name == "" {
			return nil, errors.New("reading /cluster: a member has no name")
		}
	}
	return &c, nil
}

// A status is GET /patroni: what one member says of itself.
type status struct {
	State    string `json:"state"`
	Role     string `json:"role"`
	Unlocked bool   `json:"cluster_unlocked"`
	Patroni  struct {
		Version string `json:"version"`
		Name    string `json:"name"`
	} `json:"patroni"`
}

func parseStatus(body []byte) (*status, error) {
	var s status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("reading /patroni: %w", err)
	}
	if s.State == "" {
		return nil, errors.New("reading /patroni: it names no state")
	}
	return &s, nil
}
