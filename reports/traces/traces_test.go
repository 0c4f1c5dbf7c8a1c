package traces

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

var began = time.Date(2026, 11, 26, 2, 30, 0, 0, time.UTC)

func run() reports.Run {
	r := reports.Run{Record: drills.Record{Run: "01abc", Started: began, Finished: began.Add(time.Minute), Verdict: verdict.Fail, Reason: "rto"}}
	r.Record.Drill.Name, r.Record.System.Name = "leader kill", "orders"
	r.Record.Trials = []verdict.Trial{{
		N: 1, Started: began.Add(time.Second).Format(time.RFC3339Nano), Verdict: verdict.Fail,
		Faults: []verdict.Fault{{Kind: "kill", Node: "n1", Effect: &[2]float64{5000, 5002}, Revert: &[2]float64{9000, 9100}}},
	}}
	for at, phase := range []string{"observe", "steady", "inject", "hold"} {
		d := time.Duration(at) * time.Second
		r.Timeline = append(r.Timeline, timeline.Event{Trial: 1, Kind: timeline.Phase, Value: phase, At: timeline.Interval{Lo: d, Hi: d}})
	}
	r.Timeline = append(r.Timeline, timeline.Event{Trial: 2, Kind: timeline.Phase, Value: "of another trial"})
	return r
}

func TestADrillIsATraceOfItsTrialsPhasesAndFaults(t *testing.T) {
	var got []*wire.Span
	var header string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(data, &req)
		}
		if err != nil {
			t.Error(err)
		}
		header = r.Header.Get("Authorization")
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				got = append(got, ss.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer token")
	if !Asked() {
		t.Fatal("the environment asks for it")
	}
	if err := Send(t.Context(), run()); err != nil {
		t.Fatal(err)
	}
	if header != "Bearer token" {
		t.Errorf("header %q", header)
	}
	spans := map[string]*wire.Span{}
	for _, s := range got {
		spans[s.Name] = s
	}
	if len(got) != 7 {
		t.Fatalf("%d spans: %v", len(got), spans)
	}
	for name, want := range map[string][2]time.Duration{
		"drill leader kill": {0, time.Minute},
		"trial 1":           {time.Second, 4 * time.Second},
		"steady":            {2 * time.Second, 3 * time.Second},
		"hold":              {4 * time.Second, 4 * time.Second},
		"kill on n1":        {6 * time.Second, 10100 * time.Millisecond},
	} {
		s := spans[name]
		if s == nil {
			t.Errorf("no span %q", name)
			continue
		}
		from, to := time.Duration(int64(s.StartTimeUnixNano)-began.UnixNano()), time.Duration(int64(s.EndTimeUnixNano)-began.UnixNano())
		if from != want[0] || to != want[1] {
			t.Errorf("%s is from %v to %v, want %v", name, from, to, want)
		}
	}
	if spans["drill leader kill"].Status.Code != wire.Status_STATUS_CODE_ERROR || string(spans["trial 1"].ParentSpanId) != string(spans["drill leader kill"].SpanId) {
		t.Error("the drill failed, and the trial is its own")
	}
}

func TestACollectorThatRefusesIsTold(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.URL)
	if err := Send(t.Context(), run()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
}

func TestNothingIsSentUnlessTheEnvironmentAsks(t *testing.T) {
	for _, env := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(env, "")
	}
	if Asked() {
		t.Error("nobody asked")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if Asked() {
		t.Error("it was switched off")
	}
}
