package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/scenarios/starter"
	"github.com/dapple-drills/dapple/targets/docker"
)

// answering is a server that gives these answers by path, as Patroni and etcd do
// (patroni/docs/rest_api.rst; etcd's gRPC gateway).
func answering(t *testing.T, answers map[string]string) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, a)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func patroniAnswers(name string) map[string]string {
	return map[string]string{
		"GET /patroni": `{"state": "running", "role": "primary", "patroni": {"version": "4.0.4", "scope": "orders", "name": "` + name + `"}}`,
		"GET /cluster": `{"members": [
			{"name": "pg1", "role": "leader", "host": "10.0.0.1", "port": 5432, "api_url": "http://10.0.0.1:8008/patroni"},
			{"name": "pg2", "role": "replica", "host": "10.0.0.2", "port": 5432, "api_url": "http://10.0.0.2:8008/patroni"}]}`,
	}
}

func etcdAnswers(member string) map[string]string {
	return map[string]string{
		"POST /v3/maintenance/status":  `{"header": {"cluster_id": "77", "member_id": "` + member + `"}, "version": "3.5.16"}`,
		"POST /v3/cluster/member/list": `{"members": [{"name": "n1", "clientURLs": ["http://10.0.0.1:2379"]}, {"name": "n2", "clientURLs": ["http://10.0.0.2:2379"]}]}`,
	}
}

func TestMembersOfOneClusterAreOneSystemAndTheFilesPassTheCheck(t *testing.T) {
	l := newLook([]string{answering(t, patroniAnswers("pg1")), answering(t, patroniAnswers("pg2")), answering(t, etcdAnswers("1")), answering(t, etcdAnswers("2")),
		answering(t, map[string]string{"GET /patroni": `{"hello": 1}`}), "127.0.0.1:1"})
	l.addresses = l.addresses[2:] // nothing but the servers of this test
	found := l.systems(t.Context())
	if len(found) != 2 || found[0].Kind != "patroni" || found[1].Kind != "etcd" {
		t.Fatalf("%+v", found)
	}
	if want := "postgres://app@10.0.0.1:5432,10.0.0.2:5432/app?target_session_attrs=read-write"; found[0].DSN != want {
		t.Errorf("DSN %q", found[0].DSN)
	}
	if !strings.Contains(found[0].Settings[1].Value, l.addresses[2]) {
		t.Errorf("its etcd is %v", found[0].Settings)
	}
	var out bytes.Buffer
	dir := filepath.Join(t.TempDir(), "drills")
	io := stdio{out: &out, err: &out}
	if err := writeStarters(io, dir, found, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders.yaml", "orders-primary-kill.yaml", "etcd.yaml", "etcd-primary-kill.yaml"} {
		if err := checkFile(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "orders.yaml")); err != nil {
		t.Fatal(err)
	}
	err := writeStarters(io, dir, found, false)
	if err == nil || codeOf(err) != exitUsage || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a file was overwritten: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.yaml")); err == nil {
		t.Error("one was written although another is there already")
	}
}

func TestContainersAreSelectedByTheLabelThatTheyShareAndNoOtherHas(t *testing.T) {
	c := func(name string, labels ...string) docker.Container {
		m := map[string]string{}
		for _, l := range labels {
			k, v, _ := strings.Cut(l, "=")
			m[k] = v
		}
		return docker.Container{Name: name, Labels: m}
	}
	all := []docker.Container{
		c("pg1", "app=orders", "com.example.build=7", "env=ci", "n=1"), c("pg2", "app=orders", "com.example.build=7", "env=ci", "n=2"),
		c("proxy", "app=proxy", "env=ci"),
	}
	if got := common(all[:2], all); got != "app=orders" {
		t.Errorf("%q", got)
	}
	if got := common(all[:1], all); got != "n=1" {
		t.Errorf("%q", got)
	}
	l := &look{containers: append(all, c("lone"))}
	group := []answer{{container: &all[2]}, {container: &docker.Container{Name: "lone"}}}
	if got := l.selection(group); got.Label != "" || strings.Join(got.Names, " ") != "proxy lone" {
		t.Errorf("%+v", got)
	}
}

func TestWhereNothingIsFoundNothingIsWritten(t *testing.T) {
	l := &look{addresses: []string{"127.0.0.1:1"}, containers: []docker.Container{{Name: "web", Image: "nginx"}}}
	if found := l.systems(t.Context()); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	var none []starter.System
	dir := filepath.Join(t.TempDir(), "x")
	if err := writeStarters(stdio{out: &bytes.Buffer{}}, dir, none, true); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%v", files)
	}
}
