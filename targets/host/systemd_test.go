package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets"
)

// shown is what systemctl show prints for a service that runs, in the form of its
// manual: systemd is played here, not run. See docs/targets/host.md.
const shown = `Restart=on-failure
MainPID=4711
Result=success
NRestarts=2
LoadState=loaded
ActiveState=active
SubState=running
ControlGroup=/system.slice/system-postgresql.slice/postgresql@15-main.service
ActiveEnterTimestamp=Wed 2026-11-25 22:03:17 UTC
InactiveEnterTimestamp=
`

func TestWhatSystemdShowsIsRead(t *testing.T) {
	got, err := parseStatus([]byte(shown))
	want := status{
		load: "loaded", active: "active", sub: "running", result: "success", restart: "on-failure", main: 4711, restarts: 2,
		group: "/system.slice/system-postgresql.slice/postgresql@15-main.service", up: time.Date(2026, 11, 25, 22, 3, 17, 0, time.UTC),
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(status{})); d != "" || err != nil {
		t.Errorf("%v, (-want +got)\n%s", err, d)
	}
	for _, bad := range []string{"", "garbage", strings.Replace(shown, "4711", "x", 1), strings.Replace(shown, "NRestarts=2", "NRestarts=two", 1)} {
		if s, err := parseStatus([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}

// played is a unit whose systemctl answers from a script and remembers what it was
// asked.
func played(answer func(verb string) (string, error)) (systemd, *[]string) {
	var asked []string
	return systemd{"a.service", func(_ context.Context, argv ...string) ([]byte, error) {
		asked = append(asked, strings.Join(argv, " "))
		out, err := answer(argv[0])
		return []byte(out), err
	}}, &asked
}

func showing(changes ...string) string {
	return strings.NewReplacer(changes...).Replace(shown)
}

func TestAUnitThatIsNoNodeIsRefused(t *testing.T) {
	for want, text := range map[string]string{
		"systemd says not-found":  showing("LoadState=loaded", "LoadState=not-found"),
		"systemd says masked":     showing("LoadState=loaded", "LoadState=masked"),
		"has no main process":     showing("MainPID=4711", "MainPID=0"),
		"another pid namespace":   showing("MainPID=4711", "MainPID=1"),
		"neither LoadState nor A": "",
	} {
		k, _ := played(func(string) (string, error) { return text, nil })
		if s, err := k.state(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", s, err, want)
		}
	}
}

func TestAUnitThatWaitsToBeRestartedDoesNotRunAndTellsItsPolicy(t *testing.T) {
	k, _ := played(func(string) (string, error) {
		return showing("ActiveState=active", "ActiveState=activating", "=running", "=auto-restart", "MainPID=4711", "MainPID=0", "on-failure", "always"), nil
	})
	s, err := k.state(t.Context())
	if err != nil || s.Running || s.Policy != "always" || s.Restarts != 2 || !strings.Contains(s.Detail, "auto-restart") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAUnitThatFailedTooOftenIsStartedAllTheSame(t *testing.T) {
	k, asked := played(func(string) (string, error) {
		return showing("=active", "=failed", "MainPID=4711", "MainPID=0", "=success", "=start-limit-hit"), nil
	})
	if err := k.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"show --property=" + properties + " -- a.service", "reset-failed -- a.service", "start -- a.service"}
	if !slices.Equal(*asked, want) {
		t.Errorf("asked %q", *asked)
	}
	if k.byHand() != "systemctl start a.service" {
		t.Errorf("by hand: %s", k.byHand())
	}
}

func TestFencingStopsTheUnitBeforeItIsRestarted(t *testing.T) {
	shows := 0
	k, asked := played(func(verb string) (string, error) {
		if verb == "show" {
			shows++
		}
		if shows > 2 {
			return showing("=active", "=inactive", "MainPID=4711", "MainPID=0"), nil
		}
		return showing("=active", "=deactivating", "MainPID=4711", "MainPID=0"), nil
	})
	err := k.stop(t.Context(), func(context.Context) ([]targets.Proc, error) { return nil, nil })
	if err != nil || shows != 3 || (*asked)[0] != "stop --no-block -- a.service" {
		t.Errorf("%v, %d looks, asked %q", err, shows, *asked)
	}
	broken, _ := played(func(string) (string, error) { return "", errors.New("access denied") })
	if err := broken.stop(t.Context(), func(context.Context) ([]targets.Proc, error) { return nil, nil }); err == nil {
		t.Error("a stop that was refused was taken for one")
	}
}

func TestAControlGroupIsTheUnitsAloneOrBelowIt(t *testing.T) {
	k := systemd{unit: "a.service"}
	for paths, want := range map[string]string{
		"/system.slice/a.service":        "/system.slice/a.service",
		"/system.slice/a.service/worker": "/system.slice/a.service",
		"/system.slice/aa.service":       "",
		"/system.slice/a.service2":       "",
		"/":                              "",
		"/user.slice,/system.slice/x.slice/a.service/b": "/system.slice/x.slice/a.service",
	} {
		if got := k.group(strings.Split(paths, ",")); got != want {
			t.Errorf("%s: %q, want %q", paths, got, want)
		}
	}
	for pair, want := range map[[2]string]bool{
		{"/s/a.service", "/s/a.service"}: true, {"/s/a.service/x", "/s/a.service"}: true,
		{"/s/a.service2", "/s/a.service"}: false, {"/s/a.service", ""}: false, {"/anything", "/"}: false,
	} {
		if got := inGroup(pair[0], pair[1]); got != want {
			t.Errorf("%v: %v", pair, got)
		}
	}
	if fmt.Sprint(k.members(targets.State{})) != "[] <nil>" {
		t.Error("a unit that does not run has processes")
	}
}
