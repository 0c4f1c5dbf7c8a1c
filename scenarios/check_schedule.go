package scenarios

import (
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

type scheduleChecker struct {
	*reader
	s *Schedule
	v *Vocabulary
}

// clusterPrefix marks a built-in cluster instead of a system file.
const clusterPrefix = "cluster:"

func (c *scheduleChecker) schedule() {
	c.text("name", c.s.Name)
	c.text("owner", c.s.Owner)
	c.text("scenario", c.s.Scenario)
	c.text("on", c.s.On)
	c.text("cron", c.s.Cron)
	c.text("time_zone", c.s.TimeZone)
	c.positive("catch_up", c.s.CatchUp)
	c.atLeast1("trials", c.s.Trials)
	c.lists()
	c.cluster()
	c.times()
}

// lists reports what stands there and says nothing.
func (c *scheduleChecker) lists() {
	for path, n := range map[string]int{"windows": len(c.s.Windows), "quiet": len(c.s.Quiet), "holidays": len(c.s.Holidays)} {
		if n == 0 && c.src.has(path) {
			c.report(c.src.value(path), slipf(ruleZero, "name at least one, or leave the key out", "%s: the list is empty", path))
		}
	}
}

func (c *scheduleChecker) cluster() {
	name, isCluster := strings.CutPrefix(c.s.On, clusterPrefix)
	if !isCluster || !c.src.has("on") || c.v == nil || len(c.v.Clusters) == 0 {
		return
	}
	if err := c.v.CheckCluster(name); err != nil {
		c.report(c.src.value("on"), slipf(ruleCluster, strings.Join(diag.Hints(err), "; "), "on: %s", err))
	}
}

// times reports a time zone that is none, an expression that cannot be read, and
// times at which nothing can ever begin.
func (c *scheduleChecker) times() {
	understood := c.src.has("cron") && c.src.has("time_zone")
	for path, n := range map[string]int{"windows": len(c.s.Windows), "quiet": len(c.s.Quiet), "holidays": len(c.s.Holidays)} {
		understood = understood && (n == 0 || c.src.has(path))
	}
	if c.v == nil || c.v.Times == nil || !understood || strings.TrimSpace(c.s.Cron) == "" || strings.TrimSpace(c.s.TimeZone) == "" {
		return
	}
	for _, f := range diag.FieldsOf(c.v.Times(c.s)) {
		c.report(c.src.value(f.Path), slipf(ruleTimes, f.Hint, "%s: %s", f.Path, f.Msg))
	}
}
