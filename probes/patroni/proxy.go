package patroni

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A proxy is the part of HAProxy's server options on which the time to route to
// a new primary depends.
type proxy struct {
	inter, fast time.Duration
	rise, fall  int
	text        string
}

// HAProxy's defaults (configuration manual, 5.2: inter, rise, fall).
const (
	defaultInter = 2 * time.Second
	defaultRise  = 2
	defaultFall  = 3
)

// proxyOf reads the settings: HAProxy's own words, or a mapping of them
// ({inter: 1s, rise: 2}), which arrives as haproxy.inter and so on.
func proxyOf(extra map[string]string) (*proxy, error) {
	text := extra["haproxy"]
	for _, option := range []string{"inter", "fastinter", "rise", "fall"} {
		if v := extra["haproxy."+option]; v != "" {
			text += " " + option + " " + v
		}
	}
	return parseProxy(text)
}

// parseProxy reads "inter 1s fastinter 500ms fall 2 rise 2", in any order; other
// options decide nothing here. It is nil for "".
func parseProxy(text string) (*proxy, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, nil
	}
	p := &proxy{inter: defaultInter, rise: defaultRise, fall: defaultFall, text: strings.Join(words, " ")}
	for i := 0; i < len(words); i++ {
		var err error
		switch option := words[i]; option {
		case "inter", "fastinter", "rise", "fall":
			if i++; i == len(words) {
				return nil, fmt.Errorf("%q lacks its value: say it as HAProxy does, such as \"inter 1s fall 2 rise 2\"", option)
			}
			err = p.set(option, words[i])
		}
		if err != nil {
			return nil, err
		}
	}
	if p.fast == 0 {
		p.fast = p.inter
	}
	return p, nil
}

func (p *proxy) set(option, value string) (err error) {
	switch option {
	case "inter":
		p.inter, err = haproxyTime(value)
	case "fastinter":
		p.fast, err = haproxyTime(value)
	case "rise":
		p.rise, err = count(value)
	case "fall":
		p.fall, err = count(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

func count(w string) (int, error) {
	n, err := strconv.Atoi(w)
	if err != nil || n < 1 || n > 1000 {
		return 0, fmt.Errorf("%q is no count: say a number from 1 to 1000", w)
	}
	return n, nil
}

// haproxyTime reads a time in HAProxy's units (configuration manual, 2.4): a
// bare number counts milliseconds.
func haproxyTime(w string) (time.Duration, error) {
	units := []struct {
		suffix string
		is     time.Duration
	}{{"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"", time.Millisecond}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(w, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		d := time.Duration(n) * u.is
		if err != nil || d <= 0 || d > 24*time.Hour {
			break
		}
		return d, nil
	}
	return 0, fmt.Errorf("%q is no time of HAProxy: say 1s, 500ms or, in milliseconds, 1000", w)
}

func (p *proxy) String() string { return p.text }

// up bounds how long it takes from when a server answers checks well until it
// gets connections: the first good check comes within inter, and rise - 1 more
// follow, at fastinter.
func (p *proxy) up() (least, most time.Duration) {
	more := time.Duration(p.rise-1) * p.fast
	return more, p.inter + more
}

// down bounds how long it takes until a server whose checks go unanswered gets
// no connections any more. A check is given up after inter at most (manual,
// timeout check).
func (p *proxy) down() (least, most time.Duration) {
	more := time.Duration(p.fall-1) * p.fast
	return more, p.inter + more + time.Duration(p.fall)*p.inter
}
