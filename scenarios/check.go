package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MinRPORate is the lowest workload, in writes per second, under which an rpo
// objective is accepted: a pass needs 100 acknowledged writes in the last second
// before the effect (measurement, §6), and a rate is an average.
const MinRPORate Rate = 120

// A checker looks for what is wrong with a scenario beyond its single values.
type checker struct {
	*reader
	sc   *Scenario
	full *Scenario // with defaults
	v    *Vocabulary
}

func (c *checker) scenario() {
	c.text("name", c.sc.Name)
	c.positive("steady", c.sc.Steady)
	c.positive("settle", c.sc.Settle)
	c.positive("stable_for", c.sc.StableFor)
	c.positive("full_for", c.sc.FullFor)
	c.objectives(c.sc.Objectives)
	c.requires()
	c.amounts()
	for i := range c.sc.Steps {
		c.step(i)
	}
	c.steps()
	c.abort()
	c.window()
	c.expect()
	c.training()
	if c.src.has("objectives.rpo") {
		c.lowRate(c.sc.Objectives.RPO, c.src.value("objectives.rpo"), "this scenario")
	}
}

// text reports an empty text at a path where one is needed.
func (r *reader) text(path, value string) {
	if r.src.has(path) && strings.TrimSpace(value) == "" {
		r.report(r.src.value(path), slipf(ruleZero, "write a few words", "%s: the text is empty", path))
	}
}

// positive reports a duration of 0 that stands in the file.
func (r *reader) positive(path string, d Duration) {
	if d == 0 && r.src.has(path) {
		r.report(r.src.value(path), slipf(ruleZero, "write how long, or leave the key out for the default", "%s: must be longer than 0s", path))
	}
}

// objectives reports what nothing can meet. A false_green of 0s is strict, and
// can be met.
func (r *reader) objectives(o Objectives) {
	for path, d := range map[string]*Duration{"detection": o.Detection, "rto": o.RTO, "rejoin": o.Rejoin, "redundancy": o.Redundancy, "alert": o.Alert} {
		if d != nil {
			r.positive("objectives."+path, *d)
		}
	}
}

// atLeast1 reports a number below 1 that stands in the file.
func (r *reader) atLeast1(path string, n int) {
	if n < 1 && r.src.has(path) {
		r.report(r.src.value(path), slipf(ruleZero, "write a number from 1 on, or leave the key out for the default", "%s: must be at least 1, not %d", path, n))
	}
}

func (c *checker) requires() {
	for i, kind := range c.sc.Requires.Kind {
		path := elementPath(c.src, "requires.kind", i)
		c.kind(path, kind, c.v)
	}
	if c.v == nil || len(c.v.Capabilities) == 0 {
		return
	}
	for i, name := range c.sc.Requires.Capability {
		if _, known := c.v.Capabilities[name]; !known {
			path := elementPath(c.src, "requires.capability", i)
			c.report(c.src.value(path), slipf(ruleCapability, meant(name, slices.Sorted(maps.Keys(c.v.Capabilities))), "%s: no capability is called %q", path, name))
		}
	}
}

// kind reports a kind of system that nobody knows.
func (r *reader) kind(path, kind string, v *Vocabulary) {
	if v == nil || len(v.Kinds) == 0 || v.kind(kind) != nil || !r.src.has(path) {
		return
	}
	r.report(r.src.value(path), slipf(ruleKind, meant(kind, v.kindNames()), "%s: unknown kind of system %q", path, kind))
}

// elementPath is the path of element i of what may be one text or a list.
func elementPath(s *source, path string, i int) string {
	if p := fmt.Sprintf("%s[%d]", path, i); s.has(p) {
		return p
	}
	return path
}

func (c *checker) amounts() {
	c.atLeast1("trials", c.sc.Trials)
	c.atLeast1("workload.clients", c.sc.Workload.Clients)
	c.positive("workload.fresh", c.sc.Workload.Fresh)
	c.positive("workload.direct", c.sc.Workload.Direct)
	c.atLeast1("blast_radius.nodes", c.sc.BlastRadius.Nodes)
	if c.sc.Workload.Rate == 0 && c.src.has("workload.rate") {
		c.report(c.src.value("workload.rate"), slipf(ruleZero, "write it as 200/s", "workload.rate: must be more than 0/s"))
	}
}

func (c *checker) step(i int) {
	s, path := c.sc.Steps[i], fmt.Sprintf("steps[%d]", i)
	for j, word := range s.On {
		if what := role(word); what != nil {
			c.report(c.src.value(elementPath(c.src, path+".on", j)), what)
		}
	}
	if len(s.On) == 0 && c.src.has(path+".on") {
		c.report(c.src.value(path+".on"), slipf(ruleZero, "write a role or a node's name", "%s.on: the list is empty", path))
	}
	c.positive(path+".for", s.For)
	if i == 0 && c.src.has(path+".at") {
		c.report(c.src.value(path+".at"), slipf(ruleFirstAt, "leave it out here, and count the other steps' at from this one", "%s.at: the first step is where the time begins", path))
	}
	if len(c.sc.Steps) > 1 && s.Inject != "" && !c.src.has(path+".for") {
		c.report(c.src.value(path), slipf(ruleForMissing, "add for: 60s", "%s: with several steps each must say for how long, since that decides whether they overlap", path))
	}
	if bool(s.Prepares) && !slices.ContainsFunc(c.sc.Steps, func(o Step) bool { return !bool(o.Prepares) && o.At > s.At }) {
		c.report(c.src.value(path+".prepares"), slipf(rulePrepares, "give the step for which it prepares a later at, or leave prepares out", "%s.prepares: no step comes after it for which it could prepare", path))
	}
	if c.src.has(path + ".phase") {
		if what := c.v.phase(c.sc.Requires.Kind, s.Phase); what != nil {
			c.report(c.src.value(path+".phase"), what)
		}
	}
	c.injector(path, s)
}

func (c *checker) injector(path string, s Step) {
	if !c.src.has(path + ".inject") {
		return
	}
	words := c.v.injector(s.Inject)
	switch {
	case s.Inject == "":
		c.text(path+".inject", s.Inject)
	case c.v == nil || len(c.v.Injectors) == 0:
	case words == nil:
		c.report(c.src.value(path+".inject"), slipf(ruleInjector, meant(s.Inject, c.v.injectorNames()), "%s.inject: unknown injector %q", path, s.Inject))
	default:
		s.With.path = path + ".with" // also where there is none: a parameter may be missing
		Section{words.Params, words.Check}.check(c.reader, s.With, c.src.value(path+".with"))
	}
}

// steps reports what is wrong with the steps together.
func (c *checker) steps() {
	if len(c.sc.Steps) == 0 && c.src.has("steps") {
		c.report(c.src.value("steps"), slipf(ruleZero, "name at least one fault", "steps: the list is empty"))
	}
	names := map[string]bool{}
	for i, s := range c.full.Steps {
		for _, word := range s.On {
			if !isRole(word) && word != "" {
				names[word] = true
			}
		}
		touched := max(len(names), atLeast(s.On))
		if limit := c.full.BlastRadius.Nodes; touched > limit && limit > 0 {
			c.blastRadius(i, touched)
			break
		}
	}
	for j := range c.full.Steps {
		for i := range j {
			c.exclusive(i, j)
		}
	}
}

func (c *checker) blastRadius(i, touched int) {
	limit := fmt.Sprintf("blast_radius.nodes: %d", c.full.BlastRadius.Nodes)
	if !c.src.has("blast_radius.nodes") {
		limit += " (the default)"
	}
	at := c.src.value(fmt.Sprintf("steps[%d].on", i))
	c.report(at, slipf(ruleBlastRadius, fmt.Sprintf("name fewer nodes, or write blast_radius: {nodes: %d}", touched),
		"steps[%d].on: up to here the steps touch at least %d nodes, more than %s", i, touched, limit))
}

// exclusive reports two faults that hold on one node at the same time although
// one of them leaves nothing for the other to act on.
func (c *checker) exclusive(i, j int) {
	a, b := c.full.Steps[i], c.full.Steps[j]
	hint := "let the second begin (at) after the first has ended (for), or aim it elsewhere"
	if a.At+a.For <= b.At || b.At+b.For <= a.At {
		if !c.src.has("training") {
			return
		}
		hint = "aim it elsewhere: in a training, whoever leads it may bring a step forward"
	}
	word, same := sameNode(a, b)
	if !same {
		return
	}
	why := c.excludes(a.Inject, b.Inject)
	if why == "" {
		why = c.excludes(b.Inject, a.Inject)
	}
	if why == "" {
		return
	}
	c.report(c.src.value(fmt.Sprintf("steps[%d]", j)), slipf(ruleExclusive, hint,
		"steps[%d]: %s on %q overlaps with %s of steps[%d], and they exclude each other: %s", j, b.Inject, word, a.Inject, i, why))
}

func (c *checker) excludes(a, b string) string {
	words := c.v.injector(a)
	if words == nil || words.Excludes == nil {
		return ""
	}
	return words.Excludes(b)
}

func (c *checker) abort() {
	for i, a := range c.sc.Abort {
		path := fmt.Sprintf("abort[%d]", i)
		c.positive(path+".outage", a.Outage)
		if c.src.has(path) && a == (Abort{}) && !c.src.has(path+".outage") {
			c.report(c.src.value(path), slipf(ruleAbort, "write outage: 90s", "%s: there is no condition", path))
		}
	}
}

// window reports a settle that ends before what is asked for can be seen.
func (c *checker) window() {
	for _, w := range []struct {
		path string
		d    Duration
	}{{"stable_for", c.full.StableFor}, {"full_for", c.full.FullFor}} {
		path, d := w.path, w.d
		if d < c.full.Settle {
			continue
		}
		at := c.src.key(path)
		if !c.src.has(path) {
			at = c.src.key("settle")
		}
		c.report(at, slipf(ruleWindow, "make settle longer, or "+path+" shorter",
			"settle: %s ends before %s: %s can be seen", c.full.Settle, path, d))
	}
}

// expect reports a failover that is expected of faults which touch no primary.
func (c *checker) expect() {
	if c.sc.Expect.Failover == nil || !*c.sc.Expect.Failover || len(c.sc.Steps) == 0 {
		return
	}
	for _, s := range c.sc.Steps {
		if !slices.ContainsFunc(s.On, isReplicaRole) || slices.ContainsFunc(s.On, func(w string) bool { return !isReplicaRole(w) }) {
			return
		}
	}
	c.report(c.src.value("expect.failover"), slipf(ruleNoPrimaryStep, "write failover: no, or aim a step at the primary",
		"expect.failover: yes, but every step touches replicas only"))
}

// training reports what cannot be told to anybody, and what costs nothing and says so.
func (c *checker) training() {
	c.text("training.task", c.sc.Training.Task)
	c.positive("training.within", c.sc.Training.Within)
	for i, h := range c.sc.Training.Hints {
		at := fmt.Sprintf("training.hints[%d]", i)
		c.text(at+".text", h.Text)
		c.positive(at+".price", h.Price)
		c.atLeast1(at+".points", h.Points)
	}
}

// lowRate reports an rpo objective under too small a workload.
func (c *checker) lowRate(rpo *RPO, at Pos, whose string) {
	rate := c.full.Workload.Rate
	if rpo == nil || rate >= MinRPORate || rate == 0 {
		return
	}
	c.report(at, slipf(ruleLowRate, fmt.Sprintf("write workload: {rate: 200/s}, or at least %s", MinRPORate),
		"the objective rpo: %s of %s cannot be judged with a workload of %s: at least 100 writes must be at risk in the last second", rpo, whose, rate))
}
