package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestASkipMayNotLie(t *testing.T) {
	gone := errors.New("it is not installed")
	for _, c := range []struct {
		name, have, lack string
		missing          error
		want             decision
		why              string
	}{
		{"present and undeclared runs", "", "", nil, run, ""},
		{"missing and undeclared is skipped, with the reason", "", "", gone, skip, "needs netem: it is not installed"},
		{"present and had runs", "root, netem", "", nil, run, ""},
		{"missing though had fails", "netem", "", gone, fail, "in DAPPLE_HAVE, but it is missing"},
		{"missing and lacked is skipped", "", "netem", gone, skip, "needs netem"},
		{"present though lacked fails", "root", "netem", nil, fail, "in DAPPLE_LACK, but it is here"},
		{"present and in neither list fails", "root", "", nil, fail, "neither in DAPPLE_HAVE"},
		{"missing and in neither list fails", "", "root", gone, fail, "neither in DAPPLE_HAVE"},
		{"in both lists fails", "netem", "netem", nil, fail, "and in DAPPLE_LACK"},
		{"part of a name is another feature", "netem2", "", nil, fail, "neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := decide(c.have, c.lack, "netem", c.missing)
			if got != c.want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("got %v, %q; want %v with %q", got, why, c.want, c.why)
			}
		})
	}
}

func TestAPostgresOfTheTestsOwnAnswersAndIsGoneAfterwards(t *testing.T) {
	bin, err := postgresBin()
	Need(t, "postgres", err)
	var dsn, folder string
	t.Run("inner", func(t *testing.T) {
		dsn = NeedPostgres(t)
		out, err := exec.Command(filepath.Join(bin, "psql"), dsn, "-Atc", "select 6*7, rolsuper from pg_roles where rolname = current_user").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "42|t" {
			t.Errorf("psql: %s, %v", out, err)
		}
		out, err = exec.Command(filepath.Join(bin, "psql"), dsn, "-Atc", "show unix_socket_directories").CombinedOutput()
		if folder = strings.TrimSpace(string(out)); err != nil || folder == "" {
			t.Errorf("psql: %s, %v", out, err)
		}
	})
	if out, err := exec.Command(filepath.Join(bin, "psql"), dsn, "-Atc", "select 1").CombinedOutput(); err == nil {
		t.Errorf("the server still answers after its test: %s", out)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder %s: got %v, want it gone", folder, err)
	}
}

func TestWithoutAnEngineTheReasonSaysHowToGetOne(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	err := dockerMissing(t.Context())
	if err == nil || !strings.Contains(err.Error(), ".ci/docker-up") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not-exist and the way out", err)
	}
	t.Setenv("DOCKER_HOST", "tcp://10.255.255.1:2375")
	if err := dockerMissing(t.Context()); err == nil || !strings.Contains(err.Error(), "unset it") {
		t.Errorf("got %v, want a hint to unset DOCKER_HOST", err)
	}
}
