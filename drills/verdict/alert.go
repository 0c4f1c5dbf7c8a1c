package verdict

import (
	"github.com/dapple-drills/dapple/drills/timeline"
)

// judgeAlert judges whether their monitoring told of the fault in time. That no alert
// came is a miss only if one had the time to come.
func (j *judge) judgeAlert() {
	want := j.in.Objectives.Alert
	if want == nil {
		return
	}
	f := Finding{Objective: "alert", Want: "≤ " + wordsOf(want.D()), Got: "not measured", Outcome: Unproven}
	if !j.from.ok {
		j.finding(f)
		return
	}
	for _, e := range j.kinds[timeline.Alert] {
		if e.Value != "firing" || e.At.Hi < j.from.at.Lo {
			continue
		}
		took := timeline.Interval{Lo: max(0, e.At.Lo-j.from.at.Hi), Hi: e.At.Hi - j.from.at.Lo}
		f.Got, f.Text = wordsOf(took.Hi), e.Evidence
		switch {
		case took.Lo > want.D():
			f.Outcome = Missed
		case took.Hi <= want.D():
			f.Outcome = Met
		default:
			f.Text = "the measurement is too coarse to tell"
		}
		j.finding(f, of(e))
		return
	}
	f.Got = "no alert"
	if watched := j.end - j.from.at.Hi; watched > want.D() {
		f.Outcome = Missed
	} else {
		f.Text = "the trial ended " + wordsOf(watched) + " after the effect"
	}
	j.finding(f)
}
