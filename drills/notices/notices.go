// Package notices tells people and programs elsewhere what became of scheduled
// drills: a chat, a webhook, the annotations of a dashboard.
//
// It never holds anything up: a notice is put into a queue, and whoever is to get it
// and does not answer loses it in the end, which is told here.
package notices

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Notice is something that became of a firing.
type Notice struct {
	ID       string    `json:"-"`        // unique, the same if it is sent again
	Time     time.Time `json:"time"`     // when it became so
	State    string    `json:"state"`    // begun, done, refused, lost …
	Schedule string    `json:"schedule"` // its name
	Owner    string    `json:"owner"`
	System   string    `json:"system"` // as the schedule names it
	Local    string    `json:"due"`    // by the wall clock of the schedule
	Why      string    `json:"why,omitempty"`
	Run      string    `json:"run,omitempty"`
}

// Text is the notice in one line.
func (n Notice) Text() string {
	text := fmt.Sprintf("dapple: %s on %s, due %s: %s", n.Schedule, n.System, n.Local, n.State)
	if n.Why != "" {
		text += ": " + n.Why
	}
	if n.Run != "" {
		text += " (run " + n.Run + ")"
	}
	return text + " — " + n.Owner
}

// A Receiver makes the request that brings a notice to somebody.
type Receiver struct {
	Name string // "slack", as it is called in errors
	// Request makes it; nil, nil: this one is not for them.
	Request func(n Notice) (*http.Request, error)
	// Other brings it by other means than a request; then Request is not used.
	Other func(ctx context.Context, n Notice) error
}

func post(url string, body any) (*http.Request, []byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return nil, nil, errors.New("its address cannot be read") // which may hold a secret
	}
	req.Header.Set("Content-Type", "application/json")
	return req, data, nil
}

// Slack is an incoming webhook of Slack, or of what takes the same.
func Slack(url string) Receiver {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return Receiver{Name: "slack", Request: func(n Notice) (*http.Request, error) {
		req, _, err := post(url, map[string]string{"text": escape.Replace(n.Text())})
		return req, err
	}}
}

// Webhook takes CloudEvents 1.0 in the JSON format. With a secret the body is signed:
// X-Dapple-Signature: sha256= and the HMAC in hex.
func Webhook(url, secret, source string) Receiver {
	return Receiver{Name: "webhook", Request: func(n Notice) (*http.Request, error) {
		req, body, err := post(url, map[string]any{
			"specversion": "1.0", "id": n.ID, "source": source, "type": "dapple.drill." + n.State,
			"subject": n.Schedule, "time": n.Time.UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json", "data": n,
		})
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		if secret != "" {
			mac := hmac.New(sha256.New, []byte(secret))
			_, _ = mac.Write(body) // never fails
			req.Header.Set("X-Dapple-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		}
		return req, nil
	}}
}

// Grafana is its API of annotations: one when a drill begins, one when it is over.
func Grafana(url, token string) Receiver {
	return Receiver{Name: "grafana", Request: func(n Notice) (*http.Request, error) {
		if n.State != "begun" && n.Run == "" && n.State != "lost" {
			return nil, nil
		}
		req, _, err := post(strings.TrimSuffix(url, "/")+"/api/annotations", map[string]any{
			"time": n.Time.UnixMilli(), "tags": []string{"dapple", n.State, n.Schedule}, "text": n.Text(),
		})
		if err == nil && token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return req, err
	}}
}

const (
	waiting = 256 // notices that wait for a receiver; more are lost
	tries   = 4
	answer  = 10 * time.Second // for one try
	between = 2 * time.Second  // before the second try, then twice as long
)

// A Post brings notices to receivers, each at its own pace.
type Post struct {
	queues []chan Notice
	names  []string
	failed func(error)
	wg     sync.WaitGroup
	cancel context.CancelFunc
	tries  context.Context
}

// NewPost starts one goroutine for each receiver. What cannot be brought is told to
// failed, which must be quick.
func NewPost(ctx context.Context, receivers []Receiver, failed func(error)) *Post {
	p := &Post{failed: failed}
	p.tries, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, r := range receivers {
		q := make(chan Notice, waiting)
		p.queues, p.names = append(p.queues, q), append(p.names, r.Name)
		p.wg.Go(func() {
			for n := range q {
				if err := p.bring(r, n); err != nil {
					failed(fmt.Errorf("tell %s that %s is %s: %w", r.Name, n.Schedule, n.State, err))
				}
			}
		})
	}
	return p
}

// Send queues a notice, and returns at once.
func (p *Post) Send(n Notice) {
	for i, q := range p.queues {
		select {
		case q <- n:
		default:
			p.failed(fmt.Errorf("tell %s that %s is %s: %d notices wait already", p.names[i], n.Schedule, n.State, waiting))
		}
	}
}

// Close brings what waits, for as long as patience lasts. Send must not be called
// any more.
func (p *Post) Close(patience time.Duration) {
	for _, q := range p.queues {
		close(q)
	}
	timer := time.AfterFunc(patience, p.cancel)
	defer timer.Stop()
	p.wg.Wait()
	p.cancel()
}

// bring tries until it is taken.
func (p *Post) bring(r Receiver, n Notice) (err error) {
	pause := between
	for try := range tries {
		if try > 0 {
			select {
			case <-p.tries.Done():
				return errors.Join(err, context.Cause(p.tries))
			case <-time.After(pause):
			}
			pause *= 2
		}
		var again bool
		if again, err = p.once(r, n); err == nil || !again {
			return err
		}
	}
	return err
}

// once says whether it is worth trying again.
func (p *Post) once(r Receiver, n Notice) (again bool, err error) {
	ctx, cancel := context.WithTimeout(p.tries, answer)
	defer cancel()
	if r.Other != nil {
		err := r.Other(ctx, n)
		return p.tries.Err() == nil, err
	}
	req, err := r.Request(n)
	if err != nil || req == nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		return p.tries.Err() == nil, withoutAddress(err)
	}
	defer func() { _ = res.Body.Close() }() // read as far as it is wanted
	said, err := io.ReadAll(io.LimitReader(res.Body, 200))
	if res.StatusCode/100 == 2 {
		return false, nil
	}
	again = res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests
	return again, errors.Join(fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(said))), err)
}

// withoutAddress takes the address out of an error: that of a webhook is its secret.
func withoutAddress(err error) error {
	var e interface{ Unwrap() error }
	if errors.As(err, &e) {
		return e.Unwrap()
	}
	return err
}
