package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// NeedRoot ends the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	var missing error
	if os.Geteuid() != 0 {
		missing = errors.New("run the tests with sudo -E")
	}
	Need(t, "root", missing)
}

// NeedSystemd ends the test unless there is a systemd that it can start as pid 1
// of namespaces of its own. This machine need not be run by it.
func NeedSystemd(t testing.TB) {
	t.Helper()
	var missing error
	for _, program := range []string{"/lib/systemd/systemd", "systemctl", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil && missing == nil {
			missing = fmt.Errorf("install it with apt-get install systemd util-linux: %w", err)
		}
	}
	Need(t, "systemd", missing)
}

// NeedDocker ends the test unless a Docker engine answers on this machine and
// has, or can get, images: see .ci/docker-up and .ci/base-image.
func NeedDocker(t testing.TB) {
	t.Helper()
	Need(t, "docker", dockerMissing(t.Context()))
}

// dockerMissing pings the engine without a client library, which package
// targets/docker alone may import.
func dockerMissing(ctx context.Context) error {
	const how = "start one with .ci/docker-up (root on Debian) or yours with systemctl start docker"
	socket := "/var/run/docker.sock"
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		path, ok := strings.CutPrefix(host, "unix://")
		if !ok {
			return fmt.Errorf("DOCKER_HOST=%s is not an engine of this machine: unset it, and %s", host, how)
		}
		socket = path
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no Docker engine answers on %s: %s: %w", socket, how, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the Docker engine on %s answers %s", socket, resp.Status)
	}
	return nil
}

// NeedCC ends the test unless there is a C compiler, with its assembler.
func NeedCC(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("gcc")
	if err != nil {
		err = fmt.Errorf("%w: apt-get install gcc libc6-dev", err)
	}
	Need(t, "cc", err)
}

// NeedRedis ends the test unless the programs of a Redis server and a Sentinel
// are installed. They need not run.
func NeedRedis(t testing.TB) {
	t.Helper()
	var missing error
	for _, program := range []string{"redis-server", "redis-sentinel"} {
		if _, err := exec.LookPath(program); err != nil && missing == nil {
			missing = fmt.Errorf("install it with apt-get install redis-server redis-sentinel: %w", err)
		}
	}
	Need(t, "redis", missing)
}

// NeedOpenMetrics ends the test unless Prometheus' own parser of OpenMetrics is
// here. It returns the Python that has it.
func NeedOpenMetrics(t testing.TB) (python string) {
	t.Helper()
	var missing error
	for _, python = range []string{"python3", "/usr/bin/python3"} {
		if missing = exec.CommandContext(t.Context(), python, "-c", "import prometheus_client.openmetrics.parser").Run(); missing == nil {
			break
		}
	}
	if missing != nil {
		missing = fmt.Errorf("install it with apt-get install python3-prometheus-client: %w", missing)
	}
	Need(t, "openmetrics", missing)
	return python
}

// NeedSSHD ends the test unless there is an SSH server and its client, which the
// test starts with a configuration of its own. It returns the server's path.
func NeedSSHD(t testing.TB) (path string) {
	t.Helper()
	var missing error
	for _, program := range []string{"ssh", "ssh-keygen", "/usr/sbin/sshd"} {
		var err error
		if path, err = exec.LookPath(program); err != nil && missing == nil {
			missing = fmt.Errorf("install it with apt-get install openssh-server openssh-client: %w", err)
		}
	}
	Need(t, "sshd", missing)
	return path
}
