package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/targets/testcluster"
)

func TestAClusterThatStaysIsFoundListedAndRemoved(t *testing.T) {
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Short: a unix socket's path may have 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "dapple-tc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	o := testcluster.Options{Dir: dir, Lifetime: testcluster.Stays, Keeper: []string{me, "keeper"}, Member: []string{me, "etcd-member"}}
	if _, err := testcluster.Find(t.Context(), "etcd", o); !errors.Is(err, testcluster.ErrNotUp) {
		t.Errorf("before: got %v, want that it is not up", err)
	}
	c, err := testcluster.Start(t.Context(), "etcd", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := testcluster.Down(context.WithoutCancel(t.Context()), "etcd", o); !errors.Is(err, testcluster.ErrNotUp) {
			t.Errorf("after it was removed: got %v", err)
		}
	})
	if err := c.Stop(t.Context()); err != nil { // it is to stay
		t.Fatal(err)
	}
	if _, err := testcluster.Start(t.Context(), "etcd", o); !errors.Is(err, testcluster.ErrUp) {
		t.Errorf("a second of one name: got %v, want that it is up", err)
	}
	again, err := testcluster.Find(t.Context(), "etcd", o)
	if err != nil {
		t.Fatal(err)
	}
	if again.System.Clients.DSN != c.System.Clients.DSN || len(again.Nodes) != 3 || again.Ready(t.Context()) != nil {
		t.Errorf("found %+v, want %+v", again.System, c.System)
	}
	all, err := testcluster.List(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s testcluster.Status) bool { return s.Name == "etcd" && s.Lifetime == testcluster.Stays })
	if i < 0 || all[i].Running != 3 || all[i].Parts != 3 {
		t.Errorf("listed %+v, want etcd with 3 of 3 running", all)
	}
	if err := testcluster.Down(t.Context(), "etcd", o); err != nil {
		t.Fatal(err)
	}
	if _, err := testcluster.Find(t.Context(), "etcd", o); !errors.Is(err, testcluster.ErrNotUp) {
		t.Errorf("afterwards: got %v, want that it is not up", err)
	}
}

func TestAPatroniClusterThatStaysIsFoundByAnotherUserAndRemoved(t *testing.T) {
	e := engine(t)
	// A name of its own: the clusters of whoever runs the tests are left alone.
	o := testcluster.Options{Dir: t.TempDir(), Lifetime: testcluster.Stays, As: fmt.Sprintf("test-%d", os.Getpid())}
	c, err := testcluster.Start(t.Context(), "patroni-async", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := testcluster.Down(context.WithoutCancel(t.Context()), "patroni-async", o)
		if !errors.Is(err, testcluster.ErrNotUp) {
			t.Errorf("after it was removed: got %v", err)
		}
	})
	if err := c.Stop(t.Context()); err != nil { // it is to stay
		t.Fatal(err)
	}
	if _, err := testcluster.Start(t.Context(), "patroni-async", o); !errors.Is(err, testcluster.ErrUp) {
		t.Errorf("a second of one name: got %v, want that it is up", err)
	}
	password, err := os.ReadFile(c.System.Clients.Password.File)
	if err != nil {
		t.Fatal(err)
	}
	other := o
	other.Dir = t.TempDir()
	found, err := testcluster.Find(t.Context(), "patroni-async", other)
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(found.System.Clients.Password.File)
	if err != nil || strings.TrimSpace(string(again)) != strings.TrimSpace(string(password)) {
		t.Errorf("the password that is found is another one: %v", err)
	}
	if found.Run != c.Run || len(found.Nodes) != 3 || found.System.Clients.DSN != c.System.Clients.DSN {
		t.Errorf("found %+v, want %+v", found, c)
	}
	if err := found.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := found.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := testcluster.Down(t.Context(), "patroni-async", o); err != nil {
		t.Fatal(err)
	}
	if there := left(t.Context(), t, e, testcluster.LabelRun+"="+c.Run); len(there) > 0 {
		t.Errorf("left behind: %v", there)
	}
	if _, err := os.Stat(c.System.Clients.Password.File); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its password: got %v, want it gone", err)
	}
}
