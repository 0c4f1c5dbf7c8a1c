package scenarios

import (
	"fmt"
	"net"
	"regexp"
)

// Guardrails are why no drill begins on a system, and why one that runs is ended.
type Guardrails struct {
	// A drill here is missed by many: it wants to have passed on a system that is
	// not critical before.
	Critical YesNo `yaml:"critical,omitempty"`
	// How many replicas there must be, all of them healthy, before a drill. Default:
	// every node must say what it is.
	Replicas int `yaml:"replicas,omitempty" jsonschema:"minimum=1"`
	// The address of a Prometheus, for queries.
	Prometheus string `yaml:"prometheus,omitempty"`
	// What Prometheus must answer: an error budget that is left, a lag that is low,
	// the age of the last backup.
	Queries []Query `yaml:"queries,omitempty" jsonschema:"minItems=1"`
	// The address of an Alertmanager, for alerts.
	Alertmanager string `yaml:"alertmanager,omitempty"`
	// Matchers of alerts of which none may fire before a drill: 'service="orders"'.
	Alerts []string `yaml:"alerts,omitempty" jsonschema:"minItems=1"`
	// Days on which no drill begins, by the clock of UTC: "2026-12-20..2027-01-06".
	Freeze []Dates `yaml:"freeze,omitempty" jsonschema:"minItems=1"`
	// A file whose being there is a freeze; its first line says why.
	FreezeFile string `yaml:"freeze_file,omitempty"`
	// Systems on which no drill may run at the same time, by their names.
	DependsOn []string `yaml:"depends_on,omitempty" jsonschema:"minItems=1"`
	// The last backup.
	Backup *Backup `yaml:"backup,omitempty"`
	// For production: how long an acknowledgement by `dapple ack` holds. Default 30m.
	OnCall Duration `yaml:"on_call,omitempty"`
	// For production: how old the pass in staging may be. Default 30d.
	Ladder Duration `yaml:"ladder,omitempty"`
}

// A Query is one that Prometheus must answer with a number within bounds. A query
// without an answer is a refusal.
type Query struct {
	// What it is about, in the words of a refusal: "error budget".
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// The expression; of several series that it gives, all must be within bounds.
	Query string `yaml:"query" jsonschema:"minLength=1"`
	// The least that is allowed.
	Min *float64 `yaml:"min,omitempty"`
	// The most that is allowed.
	Max *float64 `yaml:"max,omitempty"`
	// Whether it is asked during the drill too, and ends it.
	During YesNo `yaml:"during,omitempty"`
}

// Backup is a file that is written anew with each backup.
type Backup struct {
	// The file, or a folder, whose time of change is that of the last backup.
	File string `yaml:"file" jsonschema:"minLength=1"`
	// How old it may be.
	MaxAge Duration `yaml:"max_age"`
}

// matcher is one of Alertmanager's, as far as it is checked here.
var matcher = regexp.MustCompile(matcherPattern)

const matcherPattern = `^[a-zA-Z_][a-zA-Z0-9_]*(=|!=|=~|!~)".*"$`

// monitoring reports alerts that nobody would take, and an address that is none.
func (c *systemChecker) monitoring() {
	m := c.sys.Monitoring
	if _, port, err := net.SplitHostPort(m.Listen); c.src.has("monitoring.listen") && (err != nil || port == "") {
		c.report(c.src.value("monitoring.listen"), slipf(ruleAddress, "write it as 127.0.0.1:9095", "monitoring.listen: %q is not host:port", m.Listen))
	}
	if c.src.has("objectives.alert") && m.Listen == "" && !c.src.has("monitoring") {
		c.report(c.src.value("objectives.alert"), slipf(ruleMonitoring, "add monitoring: {listen: \"127.0.0.1:9095\"}, and have Alertmanager send to it", "objectives.alert: nothing would take the alerts"))
	}
}

func (c *systemChecker) guardrails() {
	g := c.sys.Guardrails
	c.url("guardrails.prometheus", g.Prometheus)
	c.url("guardrails.alertmanager", g.Alertmanager)
	c.atLeast1("guardrails.replicas", g.Replicas)
	c.positive("guardrails.on_call", g.OnCall)
	c.positive("guardrails.ladder", g.Ladder)
	for path, n := range map[string]int{"queries": len(g.Queries), "alerts": len(g.Alerts), "freeze": len(g.Freeze), "depends_on": len(g.DependsOn)} {
		if path = "guardrails." + path; n == 0 && c.src.has(path) {
			c.report(c.src.value(path), slipf(ruleZero, "name at least one, or leave the key out", "%s: the list is empty", path))
		}
	}
	c.guardrailPairs(g)
	for i, q := range g.Queries {
		c.query(fmt.Sprintf("guardrails.queries[%d]", i), q)
	}
	for i, m := range g.Alerts {
		if path := fmt.Sprintf("guardrails.alerts[%d]", i); c.src.has(path) && !matcher.MatchString(m) {
			c.report(c.src.value(path), slipf(ruleGuardrail, `write it as 'service="orders"', or with !=, =~ or !~`, "%s: this is no matcher of alerts", path))
		}
	}
	if g.Backup != nil {
		c.text("guardrails.backup.file", g.Backup.File)
		c.positive("guardrails.backup.max_age", g.Backup.MaxAge)
	}
}

// guardrailPairs reports a question without whom to ask, and the reverse.
func (c *systemChecker) guardrailPairs(g Guardrails) {
	for _, p := range []struct {
		whom, what string
		asked      int
		address    string
	}{
		{"guardrails.prometheus", "guardrails.queries", len(g.Queries), g.Prometheus},
		{"guardrails.alertmanager", "guardrails.alerts", len(g.Alerts), g.Alertmanager},
	} {
		switch {
		case p.asked > 0 && p.address == "" && c.src.has(p.what) && !c.src.has(p.whom):
			c.report(c.src.key(p.what), slipf(ruleGuardrail, "add the address beside it", "%s: %s is missing, so nobody can be asked", p.what, p.whom))
		case p.asked == 0 && c.src.has(p.whom) && !c.src.has(p.what):
			c.report(c.src.key(p.whom), slipf(ruleGuardrail, "say what is asked, or leave it out", "%s: nothing is asked there: %s is missing", p.whom, p.what))
		}
	}
}

func (c *systemChecker) query(path string, q Query) {
	c.text(path+".name", q.Name)
	c.text(path+".query", q.Query)
	switch {
	case !c.src.has(path):
	case q.Min == nil && q.Max == nil:
		c.report(c.src.value(path), slipf(ruleGuardrail, "add min or max", "%s: any answer would do", path))
	case q.Min != nil && q.Max != nil && *q.Min > *q.Max:
		c.report(c.src.value(path), slipf(ruleGuardrail, "make min smaller, or max larger", "%s: no answer would do: min is over max", path))
	}
}
