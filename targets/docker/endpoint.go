package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

// An Endpoint is where a Docker engine is, resolved: no variable or file is
// looked at any more when it is used.
type Endpoint struct {
	Host    string `json:"host"`              // unix:///var/run/docker.sock, tcp://…
	Context string `json:"context,omitempty"` // the docker context that it is from
	Certs   string `json:"certs,omitempty"`   // folder with ca.pem, cert.pem, key.pem; "" is no TLS
	Trust   bool   `json:"trust,omitempty"`   // the server's certificate is not verified
}

func (e Endpoint) String() string {
	if e.Context != "" {
		return fmt.Sprintf("%s (context %s)", e.Host, e.Context)
	}
	return e.Host
}

// Resolve finds the engine in the order of the docker command: DOCKER_HOST,
// DOCKER_CONTEXT, the current context of the configuration, the default socket.
func Resolve(getenv func(string) string) (Endpoint, error) {
	if host := getenv("DOCKER_HOST"); host != "" {
		e := Endpoint{Host: host}
		if getenv("DOCKER_TLS_VERIFY") != "" || getenv("DOCKER_CERT_PATH") != "" {
			e.Certs = getenv("DOCKER_CERT_PATH")
			if e.Certs == "" {
				e.Certs = configDir(getenv)
			}
			e.Trust = getenv("DOCKER_TLS_VERIFY") == ""
		}
		return e, e.check("DOCKER_HOST")
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var err error
		if name, err = currentContext(configDir(getenv)); err != nil {
			return Endpoint{}, err
		}
	}
	if name == "" || name == "default" {
		return Endpoint{Host: client.DefaultDockerHost}, nil
	}
	e, err := readContext(configDir(getenv), name)
	if err != nil {
		return Endpoint{}, err
	}
	return e, e.check("docker context " + name)
}

func configDir(getenv func(string) string) string {
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	return filepath.Join(getenv("HOME"), ".docker")
}

// check refuses what the client cannot speak, naming who said it.
func (e Endpoint) check(source string) error {
	u, err := url.Parse(e.Host)
	if err != nil {
		return fmt.Errorf("%s: %q is not the address of an engine (want unix:///PATH or tcp://HOST:PORT): %w", source, e.Host, err)
	}
	switch u.Scheme {
	case "unix", "tcp", "http", "https", "npipe":
		return nil
	case "ssh":
		return fmt.Errorf("%s: an engine over ssh (%s) is not supported: run dapple on that machine", source, e.Host)
	}
	return fmt.Errorf("%s: %q is not the address of an engine: want unix:///PATH or tcp://HOST:PORT", source, e.Host)
}

func currentContext(dir string) (string, error) {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("docker configuration: %w", err)
	}
	var c struct {
		CurrentContext string `json:"currentContext"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("docker configuration %s: %w", path, err)
	}
	return c.CurrentContext, nil
}

// readContext reads the docker command's store of contexts: meta and certificates
// lie in folders that are called by the SHA-256 of the context's name.
func readContext(dir, name string) (Endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	path := filepath.Join(dir, "contexts", "meta", id, "meta.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Endpoint{}, fmt.Errorf("docker context %q is not known (%s): see \"docker context ls\"", name, path)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("docker context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return Endpoint{}, fmt.Errorf("docker context %q: %s: %w", name, path, err)
	}
	d, ok := meta.Endpoints["docker"]
	if !ok || d.Host == "" {
		return Endpoint{}, fmt.Errorf("docker context %q names no engine: %s", name, path)
	}
	e := Endpoint{Host: d.Host, Context: name, Trust: d.SkipTLSVerify}
	certs := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(certs); err == nil {
		e.Certs = certs
	}
	return e, nil
}

// options never ask the environment: the endpoint is resolved.
func (e Endpoint) options() ([]client.Opt, error) {
	opts := []client.Opt{client.WithAPIVersionNegotiation(), client.WithUserAgent("dapple")}
	if e.Certs != "" {
		t, err := tlsconfig.Client(tlsconfig.Options{
			CAFile:             filepath.Join(e.Certs, "ca.pem"),
			CertFile:           filepath.Join(e.Certs, "cert.pem"),
			KeyFile:            filepath.Join(e.Certs, "key.pem"),
			InsecureSkipVerify: e.Trust,
			ExclusiveRootPools: true,
		})
		if err != nil {
			return nil, fmt.Errorf("docker engine at %s: certificates in %s: %w", e, e.Certs, err)
		}
		opts = append(opts, client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{TLSClientConfig: t, MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: client.CheckRedirect,
		}))
	}
	return append(opts, client.WithHost(e.Host)), nil
}

// Socket is the path of the engine's socket on the engine's own machine, as a
// container there can mount it.
func (e Endpoint) Socket() string {
	if path, ok := strings.CutPrefix(e.Host, "unix://"); ok {
		return path
	}
	return "/var/run/docker.sock"
}
