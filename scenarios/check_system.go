package scenarios

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

type systemChecker struct {
	*reader
	sys *System
	v   *Vocabulary
}

func (c *systemChecker) system() {
	c.text("name", c.sys.Name)
	c.text("kind", c.sys.Kind)
	if c.sys.Kind != "" {
		c.kind("kind", c.sys.Kind, c.v)
	}
	c.nodes()
	c.clients()
	c.health()
	c.objectives(c.sys.Objectives)
	c.monitoring()
	c.guardrails()
	c.sections()
}

func (c *systemChecker) nodes() {
	if !c.src.has("nodes") {
		return
	}
	var ways []string
	for _, way := range []string{"docker", "hosts", "ssh"} {
		if c.src.has("nodes." + way) {
			ways = append(ways, way)
		}
	}
	switch {
	case len(ways) > 1:
		c.report(c.src.key("nodes."+ways[1]), slipf(ruleNodesWay, "keep one of them", "nodes: %s exclude each other", strings.Join(ways, " and ")))
	case len(ways) == 0:
		c.report(c.src.value("nodes"), slipf(ruleNodesWay, `write docker: {label: "app=…"}, hosts: […] or ssh: […]`, "nodes: does not say where they are"))
	}
	if d := c.sys.Nodes.Docker; d != nil && len(d.Label)+len(d.Names) == 0 && d.Compose == "" && c.src.has("nodes.docker") {
		c.report(c.src.value("nodes.docker"), slipf(ruleFilter, "add label, compose or names", "nodes.docker: without a filter every container would be a node"))
	}
	c.nodeNames()
	for i, h := range c.sys.Nodes.Hosts {
		c.host(fmt.Sprintf("nodes.hosts[%d]", i), h)
	}
	for i, h := range c.sys.Nodes.SSH {
		c.ssh(fmt.Sprintf("nodes.ssh[%d]", i), h)
	}
	for _, way := range []string{"hosts", "ssh"} {
		if c.src.has("nodes."+way) && len(c.sys.Nodes.Hosts)+len(c.sys.Nodes.SSH) == 0 {
			c.report(c.src.value("nodes."+way), slipf(ruleZero, "name at least one node", "nodes.%s: the list is empty", way))
		}
	}
}

// named is a node's name and the path at which it stands.
type named struct{ name, path string }

// named lists the nodes whose names the file says.
func (s *System) named() []named {
	var all []named
	for i, h := range s.Nodes.Hosts {
		all = append(all, named{h.Name, fmt.Sprintf("nodes.hosts[%d].name", i)})
	}
	for i, h := range s.Nodes.SSH {
		all = append(all, named{h.Name, fmt.Sprintf("nodes.ssh[%d].name", i)})
	}
	if s.Nodes.Docker != nil {
		for i, name := range s.Nodes.Docker.Names {
			all = append(all, named{name, elementPath(s.src, "nodes.docker.names", i)})
		}
	}
	return all
}

func (c *systemChecker) nodeNames() {
	seen := map[string]Pos{}
	for _, n := range c.sys.named() {
		at := c.src.value(n.path)
		first, twice := seen[n.name]
		switch {
		case !c.src.has(n.path):
		case n.name == "":
			c.text(n.path, n.name)
		case isRole(n.name):
			c.report(at, slipf(ruleNodeName, "give the node another name", "%s: %q is a role, and would be taken for one", n.path, n.name))
		case twice:
			c.report(at, slipf(ruleNodeName, "every node needs a name of its own", "%s: the name %q stands twice: first in line %d", n.path, n.name, first.Line))
		default:
			seen[n.name] = at
		}
	}
}

func (c *systemChecker) host(path string, h HostNode) {
	if c.src.has(path) && h.URL == "" && h.Addr == "" {
		c.report(c.src.value(path), slipf(ruleAddress, "add url or addr", "%s: there is no address", path))
	}
	c.address(path, h)
	c.service(path, h)
}

// A machine as ssh knows it, that ssh cannot take for an option; and a directory
// whose name no shell takes for anything else.
const (
	sshHostPattern = `^[A-Za-z0-9_[][^\s"'$;&|<>(){}\x60\\]*$`
	sshDirPattern  = `^/[A-Za-z0-9_./:=@%+,-]*$`
)

var (
	sshHost = regexp.MustCompile(sshHostPattern)
	sshDir  = regexp.MustCompile(sshDirPattern)
)

func (c *systemChecker) ssh(path string, h SSHNode) {
	c.text(path+".host", h.Host)
	if h.Host != "" && !c.password(path+".host", h.Host) && !sshHost.MatchString(h.Host) {
		c.report(c.src.value(path+".host"), slipf(ruleHost, "write it as in ssh HOST: a Host of ~/.ssh/config, root@10.0.0.1, or ssh://root@10.0.0.1:2222", "%s.host: %q is no machine that ssh could know", path, h.Host))
	}
	if c.src.has(path+".dir") && !sshDir.MatchString(h.Dir) {
		c.report(c.src.value(path+".dir"), slipf(ruleHost, "write it as /opt/dapple", "%s.dir: %q is no absolute path of plain letters", path, h.Dir))
	}
	c.address(path, h.Service())
	c.service(path, h.Service())
}

// address reports what is no one address.
func (c *systemChecker) address(path string, h HostNode) {
	if h.URL != "" && h.Addr != "" {
		c.report(c.src.key(path+".addr"), slipf(ruleOneOf, "keep one of them", "%s: url and addr exclude each other", path))
	}
	c.url(path+".url", h.URL)
	if _, port, err := net.SplitHostPort(h.Addr); h.Addr != "" && (err != nil || port == "") {
		c.report(c.src.value(path+".addr"), slipf(ruleAddress, "write it as 10.0.0.1:5432", "%s.addr: %q is not host:port", path, h.Addr))
	}
}

// serviceUnit is the name of a service unit (systemd.unit(5)) that is no option.
var serviceUnit = regexp.MustCompile(unitPattern)

const unitPattern = `^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\.service$`

// service reports what does not name a service of a machine.
func (c *systemChecker) service(path string, h HostNode) {
	if h.Unit != "" && h.PIDFile != "" {
		c.report(c.src.key(path+".pidfile"), slipf(ruleOneOf, "keep one of them", "%s: unit and pidfile exclude each other", path))
	}
	if c.src.has(path+".unit") && !serviceUnit.MatchString(h.Unit) {
		c.report(c.src.value(path+".unit"), slipf(ruleHost, "write it as postgresql@15-main.service", "%s.unit: %q is no name of a service unit", path, h.Unit))
	}
	if c.src.has(path+".pidfile") && !strings.HasPrefix(h.PIDFile, "/") {
		c.report(c.src.value(path+".pidfile"), slipf(ruleHost, "write it as /run/orders.pid", "%s.pidfile: %q is no absolute path", path, h.PIDFile))
	}
	if !c.src.has(path + ".start") {
		return
	}
	switch {
	case h.PIDFile == "":
		c.report(c.src.key(path+".start"), slipf(ruleHost, "a unit is started by systemd, and an address by nobody", "%s.start: it belongs to a pidfile", path))
	case len(h.Start) == 0:
		c.report(c.src.value(path+".start"), slipf(ruleZero, "write it as [/usr/bin/program, argument]", "%s.start: the list is empty", path))
	case !strings.HasPrefix(h.Start[0], "/"):
		c.report(c.src.value(path+".start"), slipf(ruleHost, "there is no shell and no PATH: write it as [/usr/bin/program, argument]", "%s.start: %q is no absolute path of a program", path, h.Start[0]))
	}
	for _, word := range h.Start {
		if c.password(path+".start", word) {
			return
		}
	}
}

// dsnPassword finds a password in a connection string of key=value pairs.
var dsnPassword = regexp.MustCompile(`(?i)(^|[\s?&;])(password|pwd|sslpassword)\s*=`)

// url reports what is no URL, and a URL that carries a password.
func (c *systemChecker) url(path, text string) {
	if text == "" || !c.src.has(path) {
		return
	}
	if c.password(path, text) {
		return
	}
	u, err := url.Parse(strings.NewReplacer("{node}", "node").Replace(text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.report(c.src.value(path), slipf(ruleAddress, "write it as http://10.0.0.1:8080/path", "%s: this is no http or https URL", path))
	}
}

// password reports a secret within an address; the message does not repeat it.
func (c *systemChecker) password(path, text string) bool {
	_, rest, isURL := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	user, _, hasUser := cutLast(authority, "@")
	if !(isURL && hasUser && strings.Contains(user, ":")) && !dsnPassword.MatchString(text) {
		return false
	}
	c.report(c.src.value(path), slipf(ruleSecret, "take it out, and write clients: {password: {env: NAME_OF_A_VARIABLE}}; and change the one that stood here",
		"%s: a password does not stand in the file", path))
	return true
}

// httpPlace is where the section http stands, or should.
func (c *systemChecker) httpPlace() Pos {
	if c.src.has("http") {
		return c.src.value("http")
	}
	return c.src.value("kind")
}

// byURL reports what a system that is drilled by URL needs beside its section.
func (c *systemChecker) byURL() {
	requests := c.sys.HTTP.Map()
	switch {
	case c.src.has("clients.dsn"):
		c.report(c.src.key("clients.dsn"), slipf(ruleSection, "write clients: {url: \"http://…\"}", "clients.dsn: kind http is spoken to by URL"))
	case c.sys.Clients.URL == "":
		c.report(c.src.value("kind"), slipf(ruleMissingKey, "add clients: {url: \"http://…\"}: where the application comes", "clients.url is missing"))
	}
	if c.sys.Health != (Health{}) && requests["health.path"] != "" {
		c.report(c.src.key("health"), slipf(ruleOneOf, "keep the one that the load balancer uses", "health and http.health exclude each other"))
	}
	if requests["url"] != "" {
		return
	}
	const hint = `write http: {url: "http://{node}:8080"}: where each node itself answers`
	if c.sys.Nodes.Docker != nil || len(c.sys.Nodes.SSH) > 0 {
		c.report(c.httpPlace(), slipf(ruleAddress, hint, "http.url is missing: the nodes have no url of their own"))
	}
	for i, h := range c.sys.Nodes.Hosts {
		if path := fmt.Sprintf("nodes.hosts[%d]", i); h.URL == "" && h.Addr != "" {
			c.report(c.src.value(path), slipf(ruleAddress, "write url instead of addr, or http: {url: \"http://{node}:8080\"}", "%s: kind http is spoken to by URL, and there is none", path))
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// variable is what the name of an environment variable may be (POSIX.1, 8.1,
// and lower case).
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *systemChecker) clients() {
	cl := c.sys.Clients
	if cl.DSN != "" && cl.URL != "" {
		c.report(c.src.key("clients.url"), slipf(ruleOneOf, "keep one of them", "clients: dsn and url exclude each other"))
	}
	if c.src.has("clients.dsn") {
		c.text("clients.dsn", cl.DSN)
		c.password("clients.dsn", cl.DSN)
	}
	c.url("clients.url", cl.URL)
	switch secret := cl.Password; {
	case secret.Env != "" && secret.File != "":
		c.report(c.src.key("clients.password.file"), slipf(ruleOneOf, "keep one of them", "clients.password: env and file exclude each other"))
	case c.src.has("clients.password") && !secret.Declared():
		c.report(c.src.value("clients.password"), slipf(ruleZero, "say where it is: {env: NAME_OF_A_VARIABLE} or {file: PATH}", "clients.password: does not say where it is"))
	case secret.Env != "" && !variable.MatchString(secret.Env): // perhaps the secret itself: not repeated
		c.report(c.src.value("clients.password.env"), slipf(ruleSecret, "name an environment variable, such as ORDERS_PW", "clients.password.env: this is not the name of a variable"))
	}
	c.positive("clients.connect", cl.Connect)
	c.positive("clients.statement", cl.Statement)
	c.positive("clients.backoff.from", cl.Backoff.From)
	c.positive("clients.backoff.to", cl.Backoff.To)
	if b := c.sys.WithDefaults().Clients.Backoff; b.From > b.To {
		c.report(c.src.value("clients.backoff"), slipf(ruleBackoff, "make to longer, or from shorter", "clients.backoff: from %s is longer than to %s", b.From, b.To))
	}
}

func (c *systemChecker) health() {
	h := c.sys.Health
	if h.HTTP != "" && h.TCP != "" {
		c.report(c.src.key("health.tcp"), slipf(ruleOneOf, "keep the one that the load balancer uses", "health: http and tcp exclude each other"))
	}
	c.url("health.http", h.HTTP)
	tcp := strings.ReplaceAll(h.TCP, "{node}", "node")
	if _, port, err := net.SplitHostPort(tcp); h.TCP != "" && (err != nil || port == "") {
		c.report(c.src.value("health.tcp"), slipf(ruleAddress, `write it as "{node}:5432"`, "health.tcp: %q is not host:port", h.TCP))
	}
}

// sections reports what belongs to another kind of system, and checks what
// belongs to this one.
func (c *systemChecker) sections() {
	if c.src.has("http") && c.src.has("kind") && c.sys.Kind != KindHTTP {
		c.report(c.src.key("http"), slipf(ruleSection, "leave it out, or write kind: http", "the kind %s has no section http", c.sys.Kind))
	}
	if c.v == nil || c.v.kind(c.sys.Kind) == nil {
		return
	}
	k := c.v.kind(c.sys.Kind)
	http, settings := c.sys.HTTP, c.sys.Settings
	http.path, settings.path = "http", "settings" // also where there is none: something may be missing
	if k.Name == KindHTTP {
		k.HTTP.check(c.reader, http, c.httpPlace())
		c.byURL()
	}
	k.Settings.check(c.reader, settings, c.src.value("settings"))
}
