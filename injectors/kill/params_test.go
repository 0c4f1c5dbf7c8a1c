package kill

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/dapple-drills/dapple/injectors"
)

func TestSignalsAreReadByNameAndNumber(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"KILL": 9, "9": 9, "kill": 9, "SIGKILL": 9, " sigstop ": 19, "19": 19, "TERM": 15, "HUP": 1, "40": 40,
	} {
		var s Signal
		if err := s.UnmarshalText([]byte(text)); err != nil || s.number() != want {
			t.Errorf("%q is %v, %v; want %d", text, s, err, want)
		}
	}
}

func TestSignalsThatAreNoFaultAreRefusedWithTheReason(t *testing.T) {
	for text, want := range map[string]string{
		"0": "does nothing", "00": "no signal", "-9": "no signal", "32": "no signal", "65": "no signal", "KILLL": "no signal", "": "no signal",
		"CONT": "no fault", "17": "no fault", "TSTP": "use STOP", "20": "use STOP",
	} {
		var s Signal
		if err := s.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzSignal(f *testing.F) {
	for _, s := range []string{"KILL", "9", "sigterm", "0", "64", "99999999999999999999", "٩"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Signal
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if n := s.number(); n < 1 || n > lastRT {
			t.Errorf("%q is signal %d", text, n)
		}
		var again Signal
		if err := again.UnmarshalText([]byte(s)); err != nil || again != s {
			t.Errorf("%q is read as %q, and that as %q, %v", text, s, again, err)
		}
	})
}

func TestWhatCannotBeTogetherIsRefused(t *testing.T) {
	for with, want := range map[string]string{
		`{"signal": "STOP", "mode": "fence"}`:    "mode crash",
		`{"signal": "TERM", "mode": "fence"}`:    "mode fence",
		`{"process": "server", "mode": "fence"}`: "mode fence",
		`{"mode": "gently"}`:                     "crash",
		`{"process": ""}`:                        "process",
		`{"process": "/usr/bin/patroni"}`:        "without its path",
	} {
		if p, err := made(t, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", with, p, err, want)
		}
	}
}

func TestTheCatalogueEntryMakesTheDefaultAndRefusesTheImpossible(t *testing.T) {
	k := Kind()
	var got Params
	inj, err := k.New(func(into any) error {
		got = *into.(*Params)
		return nil
	})
	if err != nil || inj == nil || got != (Params{"KILL", "main", Crash}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := k.New(func(into any) error { return json.Unmarshal([]byte(`{"signal":"STOP","mode":"fence"}`), into) }); err == nil {
		t.Error("STOP and fence were taken")
	}
	if k.Excludes("kill") == "" || k.Excludes("partition") != "" {
		t.Error("what excludes what is wrong")
	}
	f := injectors.Fault{State: []byte(`{"signal":"STOP"}`)}
	l, is := k.Reopen().(injectors.Lasting)
	if !is || l.Lasting(f) {
		t.Error("a stopped process outlives a reboot")
	}
	f.State = []byte(`{"signal":"KILL"}`)
	if !l.Lasting(f) {
		t.Error("a dead node does not outlive a reboot")
	}
	f.State = []byte(`{"signal":"TERM"}`)
	if p, is := k.Reopen().(injectors.Patient); !is || p.Patience(f) == 0 {
		t.Error("TERM gets no time")
	}
}

// decode reads the state in a record.
func decode(data []byte, into any) error { return json.Unmarshal(data, into) }
