package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
)

// lookEvery is how often it is looked whether a part has ended.
const lookEvery = time.Second

// lastLines is how many lines of an ended part's log are told.
const lastLines = 3

// watched calls up, and ends it as soon as a part has ended: nobody starts it again,
// so that the cluster could only be waited for in vain.
func (r *run) watched(ctx context.Context, up func(context.Context, *run) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.untilOneEnds(ctx); err != nil {
			cancel(err)
		}
	}()
	err := up(ctx, r)
	var ended *partEnded
	if err != nil && errors.As(context.Cause(ctx), &ended) && !errors.As(err, &ended) {
		err = errors.Join(ended, err)
	}
	cancel(nil)
	<-done
	return err
}

// partEnded says which part did, and its last words.
type partEnded struct{ name, status, said string }

func (e *partEnded) Error() string {
	return fmt.Sprintf("%s ended while the cluster was starting (%s); it said last: %s", e.name, e.status, e.said)
}

// untilOneEnds returns a *partEnded when a part has ended, and nil when ctx has. An
// engine that does not answer is for those to tell who need it.
func (r *run) untilOneEnds(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	ours := filters.NewArgs(filters.Arg("label", LabelRun+"="+r.id), filters.Arg("status", "exited"), filters.Arg("status", "dead"))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		cs, err := r.api.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
		if err != nil {
			continue
		}
		for _, c := range cs {
			if c.Labels[LabelPart] != partReaper {
				return &partEnded{c.Labels[LabelNode], c.Status, r.lastWords(ctx, c.ID)}
			}
		}
	}
}

// lastWords are the last lines of a container's log, on one line.
func (p *place) lastWords(ctx context.Context, id string) string {
	log, err := p.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(lastLines)})
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	var said bytes.Buffer
	_, err = stdcopy.StdCopy(&said, &said, log)
	if err = errors.Join(err, log.Close()); err != nil {
		return "its log cannot be read: " + err.Error()
	}
	return strings.Join(strings.FieldsFunc(said.String(), func(c rune) bool { return c == '\n' || c == '\r' }), " | ")
}
