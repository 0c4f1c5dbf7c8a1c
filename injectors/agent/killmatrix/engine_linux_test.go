package killmatrix

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/injectors/all"
	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/internal/mounts"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/docker"
	"github.com/dapple-drills/dapple/targets/docker/selfrun"
)

// An engine is a Docker engine of the test's own, which may be killed. Its
// containers outlive it (live-restore), as they must where one is restarted in
// production; and so does the containerd that keeps them, which there is a service
// of its own.
type engine struct {
	dir, dapple, image string
	keeper, docker     *daemon
}

// newEngine starts one, with an image of dapple's helper.
func newEngine(t *testing.T) *engine {
	t.Helper()
	testenv.NeedDocker(t)
	_, err := exec.LookPath("dockerd")
	_, err2 := exec.LookPath("containerd")
	testenv.Need(t, "docker", errors.Join(err, err2))
	// Not t.TempDir: the paths of its sockets would be too long.
	dir, err := os.MkdirTemp("", "matrix-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{dir: dir, dapple: filepath.Join(dir, "dapple")}
	t.Cleanup(func() { e.end(t) })
	build := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", e.dapple, "../../../cmd/dapple")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		e.at("kept"), e.at("run"), e.at("c.sock"))
	if err := os.WriteFile(e.at("config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// Addresses that are for documentation alone (RFC 5737): nobody routes them.
	if err := errors.Join(ip("link", "add", e.bridge(), "type", "bridge"), ip("address", "add", "198.51.100.1/30", "dev", e.bridge())); err != nil {
		t.Fatal(err)
	}
	e.keeper = e.daemon(t, "containerd", "--config", e.at("config.toml"))
	e.start(t)
	c, err := docker.Endpoint{Host: e.host()}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if e.image, err = selfrun.Image(t.Context(), c, e.dapple, version); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) at(name string) string { return filepath.Join(e.dir, name) }

// bridge is a network of its own: without any (--bridge=none) an engine removes docker0,
// which is another's (moby, daemon_unix.go, removeDefaultBridgeInterface).
func (e *engine) bridge() string { return "m" + strings.TrimPrefix(filepath.Base(e.dir), "matrix-") }

// ip is the tool of that name.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (e *engine) host() string { return "unix://" + e.at("docker.sock") }

// helper is the command of an agent in a helper container.
func (e *engine) helper(home string) []string { return []string{e.dapple, "helper", e.image, home} }

// start starts the engine and waits until it answers.
func (e *engine) start(t *testing.T) {
	t.Helper()
	if err := os.Remove(e.at("pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	e.docker = e.daemon(t, "dockerd", "--live-restore", "--bridge", e.bridge(), "--iptables=false", "--ip6tables=false",
		"--host", e.host(), "--containerd", e.at("c.sock"), "--data-root", e.at("data"), "--exec-root", e.at("exec"), "--pidfile", e.at("pid"))
	e.until(t, "the engine answers", func() bool {
		if e.docker.over() || e.keeper.over() {
			t.Fatalf("the engine ended: %s", e.said())
		}
		c, err := docker.Endpoint{Host: e.host()}.Connect(t.Context())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// A daemon is a process of an engine.
type daemon struct {
	*os.Process
	exited chan struct{}
}

// daemon starts one. It dies with the thread that started it, so that none is left of
// a test that is killed.
func (e *engine) daemon(t *testing.T, argv ...string) *daemon {
	t.Helper()
	log, err := os.OpenFile(e.at("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go kernel.Thread(func() {
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed, mostly
			close(exited)
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return &daemon{cmd.Process, exited}
}

func (d *daemon) over() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// end ends it, if it was ever started.
func (d *daemon) end() {
	if d == nil {
		return
	}
	_ = d.Signal(syscall.SIGTERM) // it may be dead
	select {
	case <-d.exited:
	case <-time.After(30 * time.Second):
		_ = d.Kill()
		<-d.exited
	}
}

// said is the end of its log.
func (e *engine) said() string {
	data, err := os.ReadFile(e.at("log"))
	return fmt.Sprint(string(data[max(0, len(data)-2000):]), err)
}

// cli asks it as people do.
func (e *engine) cli(args ...string) (words []string, err error) {
	out, err := exec.Command("docker", append([]string{"-H", e.host()}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.Fields(string(out)), err
}

// kill kills the engine itself, as its upgrade does.
func (e *engine) kill(t *testing.T) {
	t.Helper()
	if err := e.docker.Kill(); err != nil {
		t.Fatal(err)
	}
	<-e.docker.exited
}

// remove removes the container of the agent, and returns when the agent was seen to
// be dead.
func (e *engine) remove(t *testing.T, id targets.ProcID) (at time.Time) {
	t.Helper()
	asked := make(chan error, 1)
	go func() {
		helpers, err := e.helpers()
		for _, one := range helpers {
			var main []string
			if main, err = e.cli("inspect", "--format", "{{.State.Pid}}", one); err == nil && main[0] == fmt.Sprint(id.PID) {
				_, err = e.cli("rm", "--force", one)
			}
		}
		if dead(id) { // one that has ended is removed by the engine
			err = nil
		}
		asked <- err
	}()
	e.until(t, "the agent's container ends", func() bool { return dead(id) })
	at = time.Now()
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	return at
}

// helpers are the helper containers that were ever started.
func (e *engine) helpers() (ids []string, err error) {
	list := []string{"ps", "--all", "--quiet", "--filter", "label=" + selfrun.Label}
	for _, state := range []string{"restarting", "running", "removing", "paused", "exited", "dead"} {
		list = append(list, "--filter", "status="+state)
	}
	return e.cli(list...)
}

// settled sees that the engine runs again, and that no helper is left of those who
// were killed.
func (e *engine) settled(t *testing.T) {
	t.Helper()
	if e.docker.over() {
		e.start(t)
	}
	e.until(t, "no helper container is left", func() bool {
		left, err := e.helpers()
		return err == nil && len(left) == 0
	})
}

func (e *engine) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to be that %s: %s", what, e.said())
		}
	}
}

// end ends the engine and removes what it kept. A helper that is left, by a test that
// failed, goes before it.
func (e *engine) end(t *testing.T) {
	if e.docker != nil && !e.docker.over() {
		left, err := e.helpers()
		if len(left) > 0 {
			_, err = e.cli(append([]string{"rm", "--force"}, left...)...)
		}
		if err != nil {
			t.Log(err)
		}
	}
	e.docker.end()
	e.keeper.end()
	if e.keeper != nil {
		if err := ip("link", "delete", e.bridge()); err != nil {
			t.Error(err)
		}
	}
	all, err := mounts.Read("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for _, m := range slices.Backward(all) {
		if strings.HasPrefix(m.Point, e.dir+"/") {
			if err := unix.Unmount(m.Point, unix.MNT_DETACH); err != nil {
				t.Errorf("%s: %v", m.Point, err)
			}
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Error(err)
	}
}

// budgetAside is that of the cases with a helper container, as budget is of the others.
const budgetAside = 40 * time.Second

func TestWhateverBecomesOfTheHelperContainerEveryFaultEnds(t *testing.T) {
	testenv.NeedRoot(t)
	e := newEngine(t)
	seed := uint64(number(t, SeedEnv, int(time.Now().UnixNano()&0xffffff)))
	cases := number(t, CasesEnv, 0) / 10 // it takes a second to start a container
	t.Logf("seed %d (%s)", seed, SeedEnv)
	makePrivate(t)
	list := slices.DeleteFunc(rows(), func(r row) bool { return r.commands() }) // refused: the image has none
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var results []result
	for i, begin := 0, time.Now(); i < len(list) && (i < len(aside) || cases > 0 || time.Since(begin) < budgetAside); i++ {
		t.Run(list[i].named, func(t *testing.T) {
			m := newMatrix(t, list[i], random)
			m.engine = e
			m.control(t)
			for n := 0; n < 1 || n < cases/len(list); n++ {
				if results = append(results, m.one(t, aside[(i+n)%len(aside)])); t.Failed() {
					return
				}
			}
		})
	}
	table(t, results)
}

// commands says that it runs commands of the operator's.
func (r row) commands() bool {
	for _, k := range all.Kinds() {
		if k.Name == r.kind {
			return k.Commands
		}
	}
	return false
}
