package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// status words the status of an answer without what a server makes up.
func status(resp *nethttp.Response) string {
	if text := nethttp.StatusText(resp.StatusCode); text != "" {
		return fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
	return fmt.Sprint(resp.StatusCode)
}

// reason words an error without addresses and ports, so that equal outcomes are
// equal.
func reason(err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	var bad *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		return "name " + dns.Name + ": " + dns.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, errOver):
		return "closed by the other side"
	case errors.As(err, &bad):
		return bad.Err.Error()
	}
	text := err.Error()
	if strings.Contains(text, "server closed idle connection") {
		return "closed by the other side" // net/http keeps that error to itself
	}
	return strings.Join(strings.Fields(text), " ")
}

// because is err, or why ctx ended if that is the cause of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return errors.Join(ctx.Err(), err)
	}
	return err
}
