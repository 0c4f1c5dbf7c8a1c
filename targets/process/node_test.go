package process

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets"
)

func TestASpecOpensTheSameNodeElsewhere(t *testing.T) {
	c := start(t, Options{Members: []Member{{Name: "a", Argv: []string{"sleep", "1000"}, Env: []string{"COLOUR=blue"}, Addresses: []string{"127.9.9.9"}}}})
	id := running(t, node(c, 0))
	wire, err := json.Marshal(node(c, 0).Spec())
	if err != nil {
		t.Fatal(err)
	}
	var spec targets.Spec
	if err := json.Unmarshal(wire, &spec); err != nil {
		t.Fatal(err)
	}
	opened, err := Opener.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	n := opened.(*Node)
	if s, err := n.State(t.Context()); err != nil || s.Main != id {
		t.Errorf("state: %+v, %v; want %v", s, err, id)
	}
	if got, err := n.Addresses(t.Context()); err != nil || !cmp.Equal(got, []string{"127.9.9.9"}) {
		t.Errorf("addresses: %v, %v", got, err)
	}
	if out, err := n.Exec(t.Context(), "sh", "-c", "printf $COLOUR"); err != nil || string(out) != "blue" {
		t.Errorf("exec: %q, %v", out, err)
	}
	if _, err := n.Exec(t.Context(), "sh", "-c", "echo no such thing >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: no such thing") {
		t.Errorf("exec of what fails: %v", err)
	}
	if _, err := Opener.Open(t.Context(), targets.Spec{Kind: "docker", Name: "a"}); err == nil {
		t.Error("a spec of another kind was opened")
	}
}

func TestAClusterThatCannotBeKeptIsRefusedAndLeavesNothing(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]Options{
		"member name \"a/b\"":  {Members: sleepers("a/b")},
		"is there twice":       {Members: sleepers("a", "a")},
		"without members":      {},
		"no program to start":  {Members: []Member{{Name: "a"}}},
		"is not within":        {Members: []Member{{Name: "a", Argv: []string{"true"}, Log: "../x"}}},
		"is not empty":         {Members: sleepers("a"), Dir: full},
		"a unix socket's":      {Members: sleepers("a"), Dir: filepath.Join(t.TempDir(), strings.Repeat("d", 100))},
		"no command for the":   {Members: sleepers("a"), Keeper: []string{}},
		"no such file":         {Members: sleepers("a"), Keeper: []string{"/nonexistent/dapple"}},
		"it did not come up: ": {Members: sleepers("a"), Keeper: []string{"true"}},
	} {
		if o.Keeper == nil {
			o.Keeper = []string{self(t), "keeper"}
		}
		if o.Dir == "" {
			o.Dir = filepath.Join(t.TempDir(), "c")
		}
		_, err := Start(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want an error with %q", err, what)
		}
		if o.Dir != full && !missing(o.Dir) {
			t.Errorf("%s: the directory was left behind", what)
		}
	}
	if missing(filepath.Join(full, "mine")) {
		t.Error("a directory that was refused was emptied")
	}
}

func TestAMemberWithoutAProgramSaysSoWhenItIsStarted(t *testing.T) {
	c := start(t, Options{Members: []Member{{Name: "a", Argv: []string{"/nonexistent/program"}}}})
	if err := node(c, 0).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "/nonexistent/program") {
		t.Errorf("start: %v", err)
	}
	stranger := &Node{name: "z", at: node(c, 0).at}
	if err := stranger.Start(t.Context()); !errors.Is(err, targets.ErrGone) {
		t.Errorf("starting a member that the keeper does not have: %v", err)
	}
}

func TestSweepRemovesOnlyWhatAKilledKeeperLeft(t *testing.T) {
	parent := t.TempDir()
	live := start(t, Options{Dir: filepath.Join(parent, "c-live"), Members: sleepers("a")})
	for _, dir := range []string{"c-dead", "c-other", "x-dead"} {
		if err := os.Mkdir(filepath.Join(parent, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"c-dead", "x-dead"} {
		if err := os.WriteFile(filepath.Join(parent, dir, lockFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(parent, "c-"); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, dir := range []string{"c-live", "c-dead", "c-other", "x-dead"} {
		got[dir] = !missing(filepath.Join(parent, dir))
	}
	want := map[string]bool{"c-live": true, "c-dead": false, "c-other": true, "x-dead": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	running(t, node(live, 0)) // its keeper still answers
}
