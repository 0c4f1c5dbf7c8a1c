package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/guardrails"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/reports/web"
)

// serveFlags are what the pages take.
type serveFlags struct {
	listen    string
	hosts     []string
	cert, key string
	plain     bool
	tokens    string
	roster    string
	systems   []string
	schedules []string
	database  string
}

func serveCmd(io stdio) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Show drills, their history, trends and the checklist as web pages",
		Long: `Serve the pages of this home ($DAPPLE_HOME): what runs now, the game-day
board, the history with the reports, trends, the checklist, and who did what. They are read-only, work on a
phone and without their script, and no viewer is felt by a drill.

On loopback (the default) whoever can connect may read. Beyond it nobody may who has
not signed in: it is refused to start there without a token, and without TLS. See
docs/guides/serve.md.`,
		Example: `  dapple serve
  dapple serve token anna --role operator
  dapple serve --listen :8443 --tls-cert cert.pem --tls-key key.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), io, f) },
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8465", "the address: host:port")
	c.Flags().StringArrayVar(&f.hosts, "host", nil, "a further name by which the pages may be asked for, such as that of a proxy: then all must sign in; repeatable")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "the certificate, as PEM")
	c.Flags().StringVar(&f.key, "tls-key", "", "its key, as PEM")
	c.Flags().BoolVar(&f.plain, "plain-http", false, "beyond loopback without TLS: only where a proxy or a tunnel encrypts")
	c.PersistentFlags().StringVar(&f.tokens, "tokens", "", "the file of the tokens (default: serve-tokens.jsonl in $DAPPLE_HOME)")
	c.Flags().StringVar(&f.roster, "roster", "", "the roster file, for the checklist")
	c.Flags().StringArrayVar(&f.systems, "system", nil, "a system file that must be on the checklist, even if the system was never drilled; repeatable")
	c.Flags().StringArrayVar(&f.schedules, "schedules", nil, "a schedule file, or a folder of them, for the board; repeatable")
	c.Flags().StringVar(&f.database, "database", "", "where the scheduler keeps its decisions: as dapple schedule has it")
	c.AddCommand(tokenCmd(io, &f))
	return c
}

func tokenCmd(io stdio, f *serveFlags) *cobra.Command {
	var role string
	var remove bool
	c := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token with which NAME signs in to the pages, and print it once",
		Long: `Make a token, and print it: it is kept nowhere, only its hash is. A new one for the
same name ends the one before, and whoever signed in with it. A viewer reads; an
operator may also stop drills.`,
		Example: "  dapple serve token anna --role operator\n  dapple serve token anna --remove",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := f.tokenFile()
			if err != nil {
				return err
			}
			if remove {
				ok, err := web.RemoveToken(path, args[0])
				if err == nil && !ok {
					err = fmt.Errorf("there is no token of %q in %s", args[0], path)
				}
				return usage(err)
			}
			secret, err := web.AddToken(path, args[0], web.Role(role), time.Now())
			if err != nil {
				return usage(err)
			}
			_, err = fmt.Fprintln(io.out, secret)
			return err
		},
	}
	c.Flags().StringVar(&role, "role", string(web.Viewer), "what it allows: viewer or operator")
	c.Flags().BoolVar(&remove, "remove", false, "end the token instead")
	return c
}

func (f serveFlags) tokenFile() (string, error) {
	home, err := homeDir()
	return cmp.Or(f.tokens, web.TokenFile(home)), err
}

// serve is the service.
func serve(ctx context.Context, io stdio, f serveFlags) (err error) {
	home, err := homeDir()
	if err != nil {
		return err
	}
	tokens, err := f.tokenFile()
	if err != nil {
		return err
	}
	loopback, err := f.check(tokens)
	if err != nil {
		return err
	}
	l, err := f.open(ctx)
	if err != nil {
		return usage(err)
	}
	c := web.Config{
		Home: home, Version: buildVersion(), TLS: f.cert != "", Tokens: tokens, Log: io.err,
		Open: loopback && len(f.hosts) == 0,
		Stop: func(why string) error { return stopAll(home, why) }, Clear: func() error { return durable.Remove(guardrails.StopFile(home)) },
		Source: &source{home: home, flags: f},
	}
	if loopback {
		c.Hosts = append([]string{"localhost", "127.0.0.1", "::1"}, f.hosts...)
	}
	s, err := web.New(ctx, c)
	if err != nil {
		return errors.Join(usage(err), l.Close())
	}
	fmt.Fprintf(io.err, "dapple: the pages of %s are at %s://%s/\n", home, scheme(c.TLS), l.Addr())
	return s.Serve(ctx, l)
}

func scheme(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// check says whether only this machine can connect, and refuses what would let in
// others without asking who they are, or let their tokens be read on the way.
func (f serveFlags) check(tokens string) (loopback bool, err error) {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return false, usage(diag.Hint(fmt.Errorf("--listen %s: %w", f.listen, err), "want host:port, such as 127.0.0.1:8465"))
	}
	if (f.cert == "") != (f.key == "") {
		return false, usage(errors.New("--tls-cert and --tls-key belong together"))
	}
	ip := net.ParseIP(host)
	loopback = strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
	all, err := web.ReadTokens(tokens)
	switch {
	case err != nil:
		return loopback, usage(err)
	case loopback && len(f.hosts) == 0:
		return loopback, nil
	case len(all) == 0:
		return loopback, refuse(diag.Hint(fmt.Errorf("others than this machine could read the pages at %s, and nobody could sign in: there is no token in %s", f.listen, tokens),
			"`dapple serve token NAME` makes one; or let it be at 127.0.0.1"))
	case !loopback && f.cert == "" && !f.plain:
		return loopback, refuse(diag.Hint(fmt.Errorf("tokens would travel to %s unencrypted", f.listen),
			"give --tls-cert and --tls-key; or --plain-http, if a proxy or a tunnel encrypts"))
	}
	return loopback, nil
}

// open listens.
func (f serveFlags) open(ctx context.Context) (net.Listener, error) {
	var c net.ListenConfig
	if f.cert == "" {
		return c.Listen(ctx, "tcp", f.listen)
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	l, err := c.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}
