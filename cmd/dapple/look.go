package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dapple-drills/dapple/probes/etcd"
	"github.com/dapple-drills/dapple/scenarios/starter"
	"github.com/dapple-drills/dapple/targets/docker"
)

// The ports at which Patroni and etcd answer unless they are told otherwise.
const (
	patroniPort = "8008"
	etcdPort    = "2379"
)

// A look is where systems are looked for.
type look struct {
	containers []docker.Container
	addresses  []string // host:port, besides those of containers
	client     http.Client
}

func newLook(extra []string) *look {
	return &look{
		addresses: append([]string{"127.0.0.1:" + patroniPort, "127.0.0.1:" + etcdPort}, extra...),
		client:    http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// An answer is what spoke at an address.
type answer struct {
	kind      string
	group     string // what makes several of them one system
	name      string // of the node
	base      string // URL
	container *docker.Container
	members   []member // of the group, as it tells them
}

type member struct{ name, url, host string }

// systems asks everywhere, and brings together what belongs together.
func (l *look) systems(ctx context.Context) []starter.System {
	groups := map[string][]answer{}
	var order []string
	add := func(a answer, ok bool) {
		key := a.kind + " " + a.group
		if !ok || slices.ContainsFunc(groups[key], func(o answer) bool { return o.name == a.name }) {
			return
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], a)
	}
	for i := range l.containers {
		add(l.inContainer(ctx, &l.containers[i]))
	}
	for _, address := range l.addresses {
		add(l.ask(ctx, address))
	}
	var found []starter.System
	taken := map[string]bool{}
	for _, key := range order {
		s := l.system(groups[key], groups)
		for n := 2; taken[slug(s.Name)]; n++ {
			s.Name = fmt.Sprintf("%s-%d", s.Name, n)
		}
		taken[slug(s.Name)] = true
		found = append(found, s)
	}
	return found
}

// inContainer asks a container at the ports of both, and takes a PostgreSQL that
// nothing manages by the name of its image.
func (l *look) inContainer(ctx context.Context, c *docker.Container) (answer, bool) {
	for _, ip := range c.Addresses {
		for _, port := range []string{patroniPort, etcdPort} {
			if a, ok := l.ask(ctx, net.JoinHostPort(ip, port)); ok {
				a.container, a.name = c, c.Name
				return a, true
			}
		}
	}
	if strings.Contains(c.Image, "postgres") && len(c.Addresses) > 0 {
		group := cmp.Or(c.Labels["com.docker.compose.project"], "postgres")
		return answer{kind: "postgres", group: group, name: c.Name, base: c.Addresses[0] + ":5432", container: c}, true
	}
	return answer{}, false
}

// ask asks an address whether it is Patroni or etcd.
func (l *look) ask(ctx context.Context, address string) (answer, bool) {
	base := "http://" + address
	var p struct {
		Patroni struct{ Scope, Name string }
	}
	if l.get(ctx, http.MethodGet, base+"/patroni", &p) && p.Patroni.Scope != "" {
		a := answer{kind: "patroni", group: p.Patroni.Scope, name: cmp.Or(p.Patroni.Name, address), base: base}
		var c struct {
			Members []struct {
				Name, Host string
				Port       int
				API        string `json:"api_url"`
			}
		}
		l.get(ctx, http.MethodGet, base+"/cluster", &c)
		for _, m := range c.Members {
			a.members = append(a.members, member{m.Name, strings.TrimSuffix(m.API, "/patroni"), fmt.Sprintf("%s:%d", m.Host, m.Port)})
		}
		return a, true
	}
	if a, ok := l.askGateway(ctx, base); ok {
		return a, ok
	}
	return l.askEtcd(ctx, address)
}

// askGateway asks etcd in JSON, as it is answered unless that is turned off.
func (l *look) askGateway(ctx context.Context, base string) (a answer, ok bool) {
	var s struct {
		Header struct {
			Cluster string `json:"cluster_id"`
			Member  string `json:"member_id"`
		}
	}
	if !l.get(ctx, http.MethodPost, base+"/v3/maintenance/status", &s) || s.Header.Cluster == "" {
		return a, false
	}
	a = answer{kind: "etcd", group: s.Header.Cluster, name: s.Header.Member, base: base}
	var list struct {
		Members []struct {
			Name string
			URLs []string `json:"clientURLs"`
		}
	}
	l.get(ctx, http.MethodPost, base+"/v3/cluster/member/list", &list)
	for _, m := range list.Members {
		if len(m.URLs) > 0 {
			a.members = append(a.members, member{m.Name, m.URLs[0], m.URLs[0]})
		}
	}
	return a, true
}

// askEtcd asks as etcd's own clients do.
func (l *look) askEtcd(ctx context.Context, address string) (a answer, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, l.client.Timeout)
	defer cancel()
	s, err := etcd.Look(ctx, address)
	if err != nil {
		return a, false // something else, or nothing
	}
	a = answer{kind: "etcd", group: s.Cluster, name: s.Member, base: "http://" + address}
	for i, name := range s.Names {
		a.members = append(a.members, member{name, s.URLs[i], s.URLs[i]})
	}
	return a, true
}

// get reads a small JSON answer; whatever is not one is no answer.
func (l *look) get(ctx context.Context, method, url string, into any) bool {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return false
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it counts
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into) == nil
}

// system describes a group.
func (l *look) system(group []answer, all map[string][]answer) starter.System {
	first := group[0]
	s := starter.System{Kind: first.kind}
	if first.container != nil {
		s.Docker = l.selection(group)
	}
	switch first.kind {
	case "patroni":
		l.patroni(&s, group, all)
	case "etcd":
		l.etcd(&s, group)
	case "postgres":
		s.Name, s.Found = first.group, fmt.Sprintf("%d containers of PostgreSQL", len(group))
		var hosts []string
		for _, a := range group {
			hosts = append(hosts, a.base)
		}
		s.DSN = "postgres://app@" + strings.Join(hosts, ",") + "/app?target_session_attrs=read-write"
		s.Guesses = append(s.Guesses, "role and database of the DSN, and whether these containers are one cluster")
	}
	return s
}

func (l *look) patroni(s *starter.System, group []answer, all map[string][]answer) {
	first := group[0]
	s.Name, s.Found = first.group, fmt.Sprintf("Patroni, scope %s, %d members", first.group, max(len(first.members), len(group)))
	var hosts []string
	for _, m := range first.members {
		hosts = append(hosts, m.host)
		s.Nodes = append(s.Nodes, starter.Node{Name: m.name, URL: m.url})
	}
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1:5432"}
		s.Nodes = []starter.Node{{Name: first.name, URL: first.base}}
	}
	s.DSN = "postgres://app@" + strings.Join(hosts, ",") + "/app?target_session_attrs=read-write"
	s.Health = "http://{node}:" + patroniPort + "/primary"
	var etcd []string
	for key, as := range all {
		for _, a := range as {
			if strings.HasPrefix(key, "etcd ") {
				etcd = append(etcd, a.base)
			}
		}
	}
	slices.Sort(etcd)
	from := "found running"
	if len(etcd) == 0 {
		etcd, from = []string{"http://127.0.0.1:" + etcdPort}, "none was found: write where Patroni's etcd is"
		s.Guesses = append(s.Guesses, "where Patroni's etcd is")
	}
	quoted, err := json.Marshal(etcd)
	if err != nil {
		quoted = []byte("[]") // strings can always be written
	}
	scope, err := json.Marshal(first.group)
	if err != nil {
		scope = []byte(`""`)
	}
	s.Settings = []starter.Setting{{Name: "scope", Value: string(scope)}, {Name: "etcd", Value: string(quoted), Comment: from}}
	s.Guesses = append(s.Guesses, "role and database of the DSN; your applications may go through a load balancer, and so should the drill")
}

func (l *look) etcd(s *starter.System, group []answer) {
	first := group[0]
	s.Name, s.Found = "etcd", fmt.Sprintf("etcd, %d members", max(len(first.members), len(group)))
	var urls []string
	for _, m := range first.members {
		urls = append(urls, m.url)
		s.Nodes = append(s.Nodes, starter.Node{Name: cmp.Or(m.name, m.url), URL: m.url})
	}
	if len(urls) == 0 || first.container != nil {
		urls = nil
		for _, a := range group {
			urls = append(urls, a.base)
		}
	}
	if len(s.Nodes) == 0 {
		s.Nodes = []starter.Node{{Name: "n1", URL: first.base}}
	}
	s.DSN = strings.Join(urls, ",")
}

// selection is the shortest way to name the containers and no others.
func (l *look) selection(group []answer) *starter.Docker {
	var of []docker.Container
	d := &starter.Docker{}
	for _, a := range group {
		if a.container != nil {
			of = append(of, *a.container)
			d.Names = append(d.Names, a.container.Name)
		}
	}
	if label := common(of, l.containers); label != "" {
		return &starter.Docker{Label: label}
	}
	return d
}
