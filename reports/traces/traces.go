// Package traces writes a drill as a trace of OpenTelemetry: the drill, its trials,
// their phases and the faults, each a span at the times of the record.
//
// It is made from a record when the drill is over, so nothing of it is in the way of
// a measurement. Where it goes is told by the variables of OpenTelemetry alone
// (OTEL_EXPORTER_OTLP_ENDPOINT and the others); without one it goes nowhere.
package traces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/reports"
)

// Asked says whether the environment names somewhere to send traces to.
func Asked() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Send sends the trace of a run by OTLP over HTTP.
func Send(ctx context.Context, run reports.Run) (err error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("send the trace: %w", err)
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "dapple"), attribute.String("service.version", run.Record.Dapple.Version)),
		resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("send the trace: %w", err)
	}
	p := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(res), trace.WithSampler(trace.AlwaysSample()))
	write(ctx, p.Tracer("dapple"), run)
	// Shutdown does not tell what could not be sent; a flush does.
	if err := errors.Join(p.ForceFlush(ctx), p.Shutdown(ctx)); err != nil {
		return fmt.Errorf("send the trace: %w", err)
	}
	return nil
}

// write makes the spans.
func write(ctx context.Context, t api.Tracer, run reports.Run) {
	r := run.Record
	ctx, drill := t.Start(ctx, "drill "+r.Drill.Name, api.WithTimestamp(r.Started), api.WithAttributes(
		attribute.String("dapple.run", r.Run), attribute.String("dapple.system", r.System.Name),
		attribute.String("dapple.environment", r.System.Environment), attribute.String("dapple.verdict", string(r.Verdict))))
	for i := range r.Trials {
		trial(ctx, t, &r.Trials[i], run.Timeline)
	}
	status(drill, r.Verdict, r.Reason)
	drill.End(api.WithTimestamp(r.Finished))
}

// trial makes the spans of one trial, whose times count from its beginning.
func trial(ctx context.Context, t api.Tracer, v *verdict.Trial, events timeline.Timeline) {
	began, err := time.Parse(time.RFC3339Nano, v.Started)
	if err != nil {
		return // an old record does not say when
	}
	end := began
	var phases []timeline.Event
	for _, e := range events {
		if e.Trial != v.N {
			continue
		}
		if at := began.Add(e.At.Hi); at.After(end) {
			end = at
		}
		if e.Kind == timeline.Phase {
			phases = append(phases, e)
		}
	}
	ctx, span := t.Start(ctx, fmt.Sprintf("trial %d", v.N), api.WithTimestamp(began), api.WithAttributes(attribute.String("dapple.verdict", string(v.Verdict))))
	for i, e := range phases {
		until := end
		if i+1 < len(phases) {
			until = began.Add(phases[i+1].At.Lo)
		}
		_, s := t.Start(ctx, e.Value, api.WithTimestamp(began.Add(e.At.Lo)))
		s.End(api.WithTimestamp(until))
	}
	for _, f := range v.Faults {
		fault(ctx, t, f, began, end)
	}
	status(span, v.Verdict, v.Reason)
	span.End(api.WithTimestamp(end))
}

// fault is in effect from the earliest moment at which it can have been until the
// latest.
func fault(ctx context.Context, t api.Tracer, f verdict.Fault, began, end time.Time) {
	if f.Effect == nil {
		return
	}
	at := func(ms float64) time.Time { return began.Add(time.Duration(ms * float64(time.Millisecond))) }
	if f.Revert != nil {
		end = at(f.Revert[1])
	}
	_, s := t.Start(ctx, f.Kind+" on "+f.Node, api.WithTimestamp(at(f.Effect[0])), api.WithAttributes(
		attribute.String("dapple.node", f.Node), attribute.String("dapple.does", f.Does), attribute.Float64("dapple.effect_width_ms", f.Effect[1]-f.Effect[0])))
	s.End(api.WithTimestamp(end))
}

// status is an error for what is no pass.
func status(s api.Span, v verdict.Verdict, why string) {
	if v == verdict.Pass {
		s.SetStatus(codes.Ok, "")
		return
	}
	s.SetStatus(codes.Error, string(v)+": "+why)
}
