package embedded

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/dapple-drills/dapple/targets/process"
)

// MemberMain is one etcd member's process. args are flags by etcd's own names,
// so that whoever looks at the command line reads the settings in effect. It
// returns when the member is told to end (SIGTERM: it hands its leadership over
// first, as etcd does), or when its keeper is gone.
func MemberMain(ctx context.Context, args []string) error {
	cfg, err := memberConfig(args)
	if err != nil {
		return fmt.Errorf("etcd member: %w", err)
	}
	orphaned := make(chan struct{})
	if err := process.OnKeeperGone(func() { close(orphaned) }); err != nil {
		return fmt.Errorf("etcd member: %w", err)
	}
	// So that ps, and a fault that aims at the server by name, see what it is.
	if err := os.WriteFile("/proc/self/comm", []byte("etcd"), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("etcd member %s: naming the process: %w", cfg.Name, err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd member %s: %w", cfg.Name, err)
	}
	select {
	case <-orphaned:
		return nil // at once: nobody is left to wait for
	case err := <-server.Err():
		return fmt.Errorf("etcd member %s: %w", cfg.Name, err)
	case <-server.Server.StopNotify():
		return fmt.Errorf("etcd member %s stopped by itself", cfg.Name)
	case <-ctx.Done():
		server.Close()
		return nil
	}
}

func memberConfig(args []string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	f := flag.NewFlagSet("etcd-member", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says it
	f.StringVar(&cfg.Name, "name", "", "the member's name")
	f.StringVar(&cfg.Dir, "data-dir", "", "where its data are")
	f.StringVar(&cfg.InitialCluster, "initial-cluster", "", "name=peer-url,…")
	f.StringVar(&cfg.InitialClusterToken, "initial-cluster-token", "", "tells clusters apart")
	f.UintVar(&cfg.TickMs, "heartbeat-interval", DefaultHeartbeatMS, "in ms")
	f.UintVar(&cfg.ElectionMs, "election-timeout", DefaultElectionMS, "in ms")
	client := f.String("listen-client-urls", "", "one URL")
	peer := f.String("listen-peer-urls", "", "one URL")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown arguments %q", f.Args())
	}
	if cfg.Name == "" || cfg.Dir == "" {
		return nil, errors.New("--name and --data-dir are needed")
	}
	c, err := oneURL("listen-client-urls", *client)
	if err != nil {
		return nil, err
	}
	p, err := oneURL("listen-peer-urls", *peer)
	if err != nil {
		return nil, err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = c, c
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = p, p
	cfg.LogOutputs = []string{"stderr"} // which the keeper puts into a file
	cfg.EnableGRPCGateway = false       // nobody here speaks JSON to it
	return cfg, nil
}

func oneURL(flag, value string) ([]url.URL, error) {
	u, err := url.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	if u.Scheme != "http" || u.Port() == "" {
		return nil, fmt.Errorf("--%s: want http://ip:port, got %q", flag, value)
	}
	return []url.URL{*u}, nil
}
