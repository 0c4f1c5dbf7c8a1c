package testcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// firstLeads waits until Patroni on the first node says that it is the primary.
func (s *patroniStart) firstLeads(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%s is no primary after %v", nodeName(1), startTimeout))
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	s.o.Progress("waiting: " + nodeName(1) + " is to be the primary")
	for {
		if s.isPrimary(ctx, 1) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// isPrimary asks Patroni on a node.
func (s *patroniStart) isPrimary(ctx context.Context, i int) error {
	var answer struct{ Role string }
	return ask(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/primary", host(s.subnet, nodeHost+i), restPort), nil, &answer)
}

// leadBeside makes the member of etcd on the primary's node the leader of etcd, if
// it is not.
func (s *patroniStart) leadBeside(ctx context.Context) error {
	var errs []error
	// The transfer is asked of the leader: nobody else can. Who that is may change
	// between the question and the request.
	for range 3 {
		err := s.moveLead(ctx)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("moving etcd's leader to the primary's node: %w", errors.Join(errs...))
}

// moveLead uses etcd's JSON gateway (etcd, "api_grpc_gateway").
func (s *patroniStart) moveLead(ctx context.Context) error {
	type status struct {
		Header struct {
			Member string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"`
	}
	at := map[string]string{} // member → where it answers
	var beside *status
	for i, h := range s.etcdHosts(s.subnet) {
		var st status
		if err := ask(ctx, http.MethodPost, "http://"+h+"/v3/maintenance/status", struct{}{}, &st); err != nil {
			return err
		}
		at[st.Header.Member] = h
		if s.isPrimary(ctx, i+1) == nil {
			beside = &st
		}
	}
	if beside == nil {
		return errors.New("no node is the primary")
	}
	if beside.Leader == beside.Header.Member {
		return nil
	}
	leader, ok := at[beside.Leader]
	if !ok {
		return fmt.Errorf("etcd names the leader %s, which is none of its members", beside.Leader)
	}
	var none struct{}
	return ask(ctx, http.MethodPost, "http://"+leader+"/v3/maintenance/transfer-leadership", map[string]string{"targetID": beside.Header.Member}, &none)
}

// ask sends one request and reads the answer of a success.
func ask(ctx context.Context, method, url string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var send io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, send)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %.200s", method, url, resp.Status, data)
	}
	return json.Unmarshal(data, answer)
}
