package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/dapple-drills/dapple/internal/diag"
)

// aliases are the words that the parser lacks, and those whose meaning it takes
// from the moment at which a program starts.
var aliases = map[string]string{"@quarterly": "0 0 1 1,4,7,10 *"}

// An expression is a parsed cron expression. It is asked for wall-clock times
// only, written as times of UTC: neither a zone nor a change of the clocks is
// its business, since the parser skips the hour that is not there and fires twice
// in the one that is there twice (robfig/cron v3.0.1).
type expression struct{ cron cron.Schedule }

// parse reads a cron expression, and nothing of its extensions.
func parse(text string) (x expression, err error) {
	text = strings.TrimSpace(text)
	if full, ok := aliases[strings.ToLower(text)]; ok {
		text = full
	}
	switch lower := strings.ToLower(text); {
	case strings.HasPrefix(lower, "tz=") || strings.HasPrefix(lower, "cron_tz="):
		return x, &diag.Field{Path: "cron", Msg: "the time zone does not stand in the expression", Hint: "write time_zone: Europe/Berlin beside it"}
	case strings.HasPrefix(lower, "@every"):
		return x, &diag.Field{Path: "cron", Msg: "@every counts from the start of the scheduler, so nobody could say when it fires", Hint: "write the times: \"0 */6 * * *\""}
	}
	defer func() {
		if r := recover(); r != nil { // the parser has been seen to panic
			x, err = expression{}, unreadable(fmt.Errorf("%v", r))
		}
	}()
	if x.cron, err = cron.ParseStandard(text); err != nil {
		return x, unreadable(err)
	}
	if x.next(dawn).IsZero() {
		return x, &diag.Field{Path: "cron", Msg: fmt.Sprintf("%q never fires: there is no such day", text), Hint: "look at the day of the month and the month"}
	}
	return x, nil
}

// dawn is before every firing that anybody asks for.
var dawn = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func unreadable(err error) error {
	return &diag.Field{
		Path: "cron", Msg: "this cannot be read: " + err.Error(),
		Hint: "write minute, hour, day of month, month and day of week, such as \"30 2 * * tue\", or @daily, @weekly, @monthly, @quarterly",
	}
}

// next is the first wall-clock time after wall at which the expression fires; zero
// if there is none within five years, which is how far the parser looks.
func (x expression) next(wall time.Time) time.Time { return x.cron.Next(wall) }
