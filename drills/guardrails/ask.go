package guardrails

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dapple-drills/dapple/scenarios"
)

// most is the longest answer that is read.
const most = 4 << 20

// ask reads a JSON answer.
func ask(ctx context.Context, address string, query url.Values, into any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL.Redacted(), res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, most)).Decode(into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", req.URL.Redacted(), err)
	}
	return nil
}

// A sample is a moment and a value, as Prometheus writes them: [1435781451.781, "1"].
type sample [2]any

func (s sample) value() (float64, error) {
	text, ok := s[1].(string)
	if !ok {
		return 0, fmt.Errorf("%v is no value", s[1])
	}
	return strconv.ParseFloat(text, 64)
}

// within asks Prometheus (HTTP API v1, instant query), and trips if a value is out
// of bounds, or there is none.
func within(ctx context.Context, address string, q scenarios.Query) error {
	var answer struct {
		Data struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := ask(ctx, strings.TrimSuffix(address, "/")+"/api/v1/query", url.Values{"query": {q.Query}}, &answer); err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	samples, err := samplesOf(answer.Data.ResultType, answer.Data.Result)
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	if len(samples) == 0 {
		return tripped("%s has no answer", q.Query)
	}
	for _, s := range samples {
		v, err := s.value()
		if err != nil {
			return fmt.Errorf("ask Prometheus: %w", err)
		}
		// Written so that a value that is no number is out of bounds.
		if q.Min != nil && !(v >= *q.Min) {
			return tripped("%s is %g, and must be at least %g", q.Query, v, *q.Min)
		}
		if q.Max != nil && !(v <= *q.Max) {
			return tripped("%s is %g, and may be %g at most", q.Query, v, *q.Max)
		}
	}
	return nil
}

func samplesOf(kind string, result json.RawMessage) (list []sample, err error) {
	switch kind {
	case "scalar":
		list = make([]sample, 1)
		return list, json.Unmarshal(result, &list[0])
	case "vector":
		var vector []struct {
			Value sample `json:"value"`
		}
		err = json.Unmarshal(result, &vector)
		for _, v := range vector {
			list = append(list, v.Value)
		}
		return list, err
	}
	return nil, fmt.Errorf("the query gives a %q, and not one value for each series", kind)
}

// firing asks Alertmanager (API v2) for alerts that fire and are not silenced, by
// each matcher.
func firing(ctx context.Context, address string, matchers []string) error {
	for _, m := range matchers {
		var alerts []struct {
			Labels map[string]string `json:"labels"`
		}
		query := url.Values{"active": {"true"}, "silenced": {"false"}, "inhibited": {"false"}, "filter": {m}}
		if err := ask(ctx, strings.TrimSuffix(address, "/")+"/api/v2/alerts", query, &alerts); err != nil {
			return fmt.Errorf("ask Alertmanager: %w", err)
		}
		if len(alerts) > 0 {
			return tripped("%d alert(s) with %s fire, %s among them", len(alerts), m, alerts[0].Labels["alertname"])
		}
	}
	return nil
}
