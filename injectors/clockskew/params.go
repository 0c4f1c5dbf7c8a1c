package clockskew

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Params is what may stand under "with".
type Params struct {
	Offset Offset `yaml:"offset" json:"offset,omitempty" jsonschema:"description=How far the clock is ahead (+60s) or behind (-60s)."`
	Drift  Drift  `yaml:"drift" json:"drift,omitempty" jsonschema:"description=How much faster (200ppm) or slower (-200ppm) the clock goes\\, in parts per million: 1000000 is twice as fast."`
	Strobe Span   `yaml:"strobe" json:"strobe,omitempty" jsonschema:"description=The clock is wrong by 'offset' for that long\\, then right for that long\\, and so on."`
	Of     Of     `yaml:"of" json:"of,omitempty" jsonschema:"default=processes,enum=processes,enum=host,description=processes: what the processes of the node believe. host: the clock of the whole machine on which the node runs; only with --allow-host-clock."`
}

// Of says whose clock it is.
type Of string

// What may be wrong.
const (
	Processes Of = "processes" // what those of the node believe
	Host      Of = "host"      // the clock of the machine
)

// UnmarshalText reads whose clock it is.
func (o *Of) UnmarshalText(text []byte) error {
	switch Of(text) {
	case Processes, Host:
		*o = Of(text)
		return nil
	}
	return fmt.Errorf("there is no clock of %q: use processes (those of the node) or host (its machine's)", text)
}

const (
	// mostOffset keeps years within what programs can write down (four digits), and
	// sums within 64 bits.
	mostOffset = 50 * 365 * 24 * time.Hour
	// leastOffset is what a look can tell from the truth on a busy machine.
	leastOffset = time.Millisecond
	// mostDrift has no clock stand still or go backwards.
	mostDrift = 900_000
	// leastDrift is what a crystal without any correction has.
	leastDrift = 1
	// leastStrobe leaves a program time to see it; mostStrobe is an offset.
	leastStrobe = 100 * time.Millisecond
	mostStrobe  = 24 * time.Hour
)

// An Offset is a duration with a sign.
type Offset time.Duration

// UnmarshalText reads "+60s", "-1h30m" or "500ms".
func (o *Offset) UnmarshalText(text []byte) error {
	d, err := duration(string(text), "+60s or -500ms")
	if err != nil {
		return err
	}
	switch size := d.Abs(); {
	case size > mostOffset:
		return fmt.Errorf("offset %s is more than 50 years", text)
	case size < leastOffset:
		return fmt.Errorf("offset %s: the least that can be told from the truth on a busy machine is %v", text, leastOffset)
	}
	*o = Offset(d)
	return nil
}

// A Span is how long something lasts.
type Span time.Duration

// UnmarshalText reads "2s".
func (s *Span) UnmarshalText(text []byte) error {
	d, err := duration(string(text), "2s")
	if err != nil {
		return err
	}
	if d < leastStrobe || d > mostStrobe {
		return fmt.Errorf("strobe %s: use %v to %v", text, leastStrobe, mostStrobe)
	}
	*s = Span(d)
	return nil
}

func duration(text, example string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit: write %ss, or %sms", text, text, text)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: write %s", text, example)
	}
	return d, nil
}

// A Drift is in parts per million.
type Drift float64

// UnmarshalText reads "200ppm", "-50 ppm" or "0.5%".
func (d *Drift) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 0.0
	for suffix, factor := range map[string]float64{"ppm": 1, "%": 10_000} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = strings.TrimSpace(rest), factor
			break
		}
	}
	ppm, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || math.IsNaN(ppm):
		return fmt.Errorf("%q is no drift: write 200ppm, -200ppm or 5%%", text)
	case unit == 0:
		return fmt.Errorf("%q has no unit: write %sppm or %s%%", text, number, number)
	}
	ppm *= unit
	switch size := math.Abs(ppm); {
	case size > mostDrift:
		return fmt.Errorf("drift %s: the most is %d ppm (90%%), so that time never stands still", text, mostDrift)
	case size < leastDrift:
		return fmt.Errorf("drift %s: the least is %d ppm", text, leastDrift)
	}
	*d = Drift(ppm)
	return nil
}

// rate is a drift as the code of a process has it: ns per ns, times 2^32.
func rate(ppm float64) int64 { return int64(math.Round(ppm / 1e6 * (1 << 32))) }

// check finds what cannot be together.
func (p Params) check() error {
	switch {
	case p.Offset == 0 && p.Drift == 0:
		return errors.New("it says neither offset (such as +60s) nor drift (such as 200ppm): the clock would be right")
	case p.Strobe != 0 && p.Offset == 0:
		return errors.New("strobe needs an offset, which comes and goes")
	case p.Of == Host:
		return p.checkMachine()
	}
	return nil
}

// words say what the clock is like.
func (s state) words() string {
	var parts []string
	if s.Offset != 0 {
		parts = append(parts, ahead(s.Offset))
	}
	if s.PPM != 0 {
		parts = append(parts, fmt.Sprintf("going %+g ppm too fast", s.PPM))
	}
	if s.Period != 0 {
		parts = append(parts, fmt.Sprintf("every second %v right", s.Period))
	}
	return strings.Join(parts, ", ")
}

// ahead says an offset.
func ahead(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%v behind", -d)
	}
	return fmt.Sprintf("%v ahead", d)
}

// MarshalText writes it with its sign.
func (o Offset) MarshalText() ([]byte, error) {
	return []byte(fmt.Sprintf("%+gs", time.Duration(o).Seconds())), nil
}

// MarshalText writes it with its unit.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// MarshalText writes it with its unit.
func (d Drift) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(d), 'g', -1, 64) + "ppm"), nil
}
