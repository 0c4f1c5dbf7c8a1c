package training

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// commandHeader tells a stamp of dapple's own from that of a webhook.
const commandHeader = "X-Dapple-Command"

// patience bounds one request: it is answered at once, or not.
const patience = 5 * time.Second

// A Client speaks to a training that runs on this machine, from another process.
type Client struct {
	access Access
	by     string // "command" for dapple's own commands
}

// Open finds the training of a run directory. That there is none, or none any more, is
// an error that is ErrNotNow.
func Open(dir string) (*Client, error) {
	data, err := os.ReadFile(filepath.Join(dir, AccessFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotNow)
	}
	c := &Client{by: "command"}
	if err == nil {
		err = json.Unmarshal(data, &c.access)
	}
	if err != nil {
		return nil, fmt.Errorf("find the training: %w", err)
	}
	return c, nil
}

// Stamp says that a person came to a point.
func (c *Client) Stamp(ctx context.Context, s Said) error { return c.ask(ctx, "/stamp", s, nil) }

// Pace brings forward what is to come: Next or End.
func (c *Client) Pace(ctx context.Context, s Said) error { return c.ask(ctx, "/pace", s, nil) }

// Hint shows a person the next hint.
func (c *Client) Hint(ctx context.Context, by string) (h Hint, err error) {
	err = c.ask(ctx, "/hint", Said{By: by}, &h)
	return h, err
}

// State is what may be known of it.
func (c *Client) State(ctx context.Context) (s State, err error) {
	err = c.do(ctx, http.MethodGet, "/state", nil, &s)
	return s, err
}

func (c *Client) ask(ctx context.Context, path string, s Said, into any) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, data, into)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, into any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.access.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.access.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(commandHeader, c.by)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("reach the training: %w", errors.Join(ErrNotNow, err))
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("reach the training: %w", err)
	case res.StatusCode != http.StatusOK:
		return errors.New(strings.TrimSpace(string(data)))
	case into == nil:
		return nil
	}
	return json.Unmarshal(data, into)
}
