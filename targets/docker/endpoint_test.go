package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contextStore makes a docker configuration with one context, as the docker
// command writes it.
func contextStore(t *testing.T, name, meta, config string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	write(t, filepath.Join(dir, "contexts", "meta", id, "meta.json"), meta)
	if config != "" {
		write(t, filepath.Join(dir, "config.json"), config)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const colima = `{"Name":"colima","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///home/me/.colima/docker.sock","SkipTLSVerify":false}}}`

func TestTheEngineIsFoundInTheOrderOfTheDockerCommand(t *testing.T) {
	dir := contextStore(t, "colima", colima, `{"auths":{},"currentContext":"colima"}`)
	want := Endpoint{Host: "unix:///home/me/.colima/docker.sock", Context: "colima"}
	for _, c := range []struct {
		name string
		env  map[string]string
		want Endpoint
	}{
		{"nothing said: this machine's socket", nil, Endpoint{Host: "unix:///var/run/docker.sock"}},
		{"the current context of the configuration", map[string]string{"DOCKER_CONFIG": dir}, want},
		{"DOCKER_CONTEXT goes before it", map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "default"}, Endpoint{Host: "unix:///var/run/docker.sock"}},
		{"DOCKER_HOST goes before all", map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "colima", "DOCKER_HOST": "tcp://10.0.0.1:2375"}, Endpoint{Host: "tcp://10.0.0.1:2375"}},
		{"with its certificates", map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}, Endpoint{Host: "tcp://10.0.0.1:2376", Certs: "/certs"}},
		{"unverified only if asked to", map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2376", "DOCKER_CERT_PATH": "/certs"}, Endpoint{Host: "tcp://10.0.0.1:2376", Certs: "/certs", Trust: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Resolve(func(k string) string { return c.env[k] })
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAnEndpointThatCannotBeUsedIsExplained(t *testing.T) {
	dir := contextStore(t, "far", `{"Endpoints":{"docker":{"Host":"ssh://me@far"}}}`, `{"currentContext":"gone"}`)
	broken := contextStore(t, "x", `{`, `{`)
	empty := contextStore(t, "k8s", `{"Endpoints":{}}`, "")
	for _, c := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"an engine over ssh", map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "far"}, "run dapple on that machine"},
		{"a context that is not there", map[string]string{"DOCKER_CONFIG": dir}, `context "gone" is not known`},
		{"a configuration that is no JSON", map[string]string{"DOCKER_CONFIG": broken}, "config.json"},
		{"a context that is no JSON", map[string]string{"DOCKER_CONFIG": broken, "DOCKER_CONTEXT": "x"}, "meta.json"},
		{"a context without an engine", map[string]string{"DOCKER_CONFIG": empty, "DOCKER_CONTEXT": "k8s"}, "names no engine"},
		{"a path without its scheme", map[string]string{"DOCKER_HOST": "/var/run/docker.sock"}, "want unix:///PATH"},
		{"no address at all", map[string]string{"DOCKER_HOST": "unix://%zz"}, "is not the address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Resolve(func(k string) string { return c.env[k] })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestAnEngineThatDoesNotAnswerIsAnErrorWithTheWayOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	_, err := Endpoint{Host: "unix://" + path}.Connect(t.Context())
	for _, want := range []string{path, "systemctl start docker", "DOCKER_HOST"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	// The socket of an engine that died is still there.
	l, lerr := net.Listen("unix", path)
	if lerr != nil {
		t.Fatal(lerr)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := (Endpoint{Host: "unix://" + path}).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "systemctl start docker") {
		t.Errorf("got %v, want the way out", err)
	}
}

func TestWithoutPermissionTheErrorSaysHowToGetIt(t *testing.T) {
	e := Endpoint{Host: "unix:///var/run/docker.sock"}
	for _, cause := range []error{fs.ErrPermission, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}} {
		err := e.explain(cause)
		if !strings.Contains(err.Error(), "usermod -aG docker") || !strings.Contains(err.Error(), "sudo") || !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	}
}

func TestCertificatesThatCannotBeReadAreNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := Endpoint{Host: "tcp://127.0.0.1:1", Certs: dir}.Connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error with %s", err, dir)
	}
}

func FuzzAContextStoreNeverPanics(f *testing.F) {
	f.Add(colima, `{"currentContext":"colima"}`)
	f.Add(`{"Endpoints":{"docker":null}}`, `{"currentContext":""}`)
	f.Add(`{"Endpoints":{"docker":{"Host":"ssh://x"}}}`, `[]`)
	f.Fuzz(func(t *testing.T, meta, config string) {
		dir := contextStore(t, "colima", meta, config)
		e, err := Resolve(func(k string) string {
			return map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": ""}[k]
		})
		if err == nil && e.Host == "" {
			t.Error("neither an error nor a host")
		}
	})
}
