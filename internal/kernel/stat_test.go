package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tail = " 1 2 3 4 5 4194560 7 8 9 10 11 12 13 14 20 0 1 0 98765 22 23"

func TestTheNameOfAProcessMayHoldAnything(t *testing.T) {
	for _, name := range []string{"postgres", "a b", "a) R 1 2 3", "((", "))", "", "x\ny", ") S 4 (", "Web Content"} {
		s, err := ParseStat([]byte("42 (" + name + ") S" + tail + "\n"))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want := Stat{PID: 42, Name: name, State: 'S', Parent: 1, Flags: 4194560, Start: 98765}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

func TestABrokenStatusIsAnErrorThatShowsIt(t *testing.T) {
	for _, bad := range []string{"", "42", "42 postgres S 1", "42 (x", "42 x) S", "42 (x) S 1 2", "42 (x) SS" + tail, "x (x) S" + tail, "(x) S" + tail, "42 (x) S" + strings.Replace(tail, "98765", "-1", 1)} {
		s, err := ParseStat([]byte(bad))
		if err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		} else if !strings.Contains(err.Error(), "process status") {
			t.Errorf("%q: error %q does not say what was read", bad, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (postgres) S" + tail))
	f.Add([]byte("42 (a) (b) Z" + tail))
	f.Add([]byte("1 ()) R" + tail + " 24 25\n"))
	f.Add([]byte("42 (x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStat(data)
		if err != nil {
			return
		}
		// Whatever was read must be found again in the text, with the name
		// ending at the last parenthesis.
		if !strings.Contains(string(data), "("+s.Name+")") || strings.Contains(string(data[strings.LastIndexByte(string(data), ')')+1:]), ")") {
			t.Errorf("name %q is not what stands in %q", s.Name, data)
		}
		if s.State == 0 || s.State == ' ' {
			t.Errorf("state %q from %q", s.State, data)
		}
	})
}

func TestControlGroupsAreListedOnceEach(t *testing.T) {
	got := parseCGroups("12:pids:/docker/ab\n11:freezer:/docker/ab\n1:name=systemd:/a:b\n0::/init.scope\n")
	if diff := cmp.Diff([]string{"/docker/ab", "/a:b", "/init.scope"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestArgumentsEndAtTheLastTerminator(t *testing.T) {
	for data, want := range map[string][]string{
		"":                             nil,
		"\x00\x00":                     nil,
		"postgres\x00-D\x00/data\x00":  {"postgres", "-D", "/data"},
		"postgres: walwriter\x00\x00":  {"postgres: walwriter"},
		"sh\x00-c\x00\x00x\x00":        {"sh", "-c", "", "x"},
		"nginx: master process nginx;": {"nginx: master process nginx;"},
	} {
		if diff := cmp.Diff(want, parseArgs(data)); diff != "" {
			t.Errorf("%q: %s", data, diff)
		}
	}
}

func TestSignalMasksAndNamespacePidsAreRead(t *testing.T) {
	got, err := parseStatus("Name:\tx\nNSpid:\t4711\t1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004003\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Dispositions{Pending: 0x100, Blocked: 1, Ignored: 0x1000, Caught: 0x4003, NSPID: []int{4711, 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !Has(got.Pending, 9) || Has(got.Pending, 8) || !Has(got.Caught, 15) || Has(^uint64(0), 0) || Has(^uint64(0), 65) {
		t.Errorf("bits are counted wrongly in %x", got.Pending)
	}
	if _, err := parseStatus("SigCgt:\tzz\n"); err == nil {
		t.Error("a broken mask is no error")
	}
}

func TestCapabilitiesHaveNames(t *testing.T) {
	if CapKill.String() != "CAP_KILL" || Cap(77).String() != "capability 77" {
		t.Errorf("%v, %v", CapKill, Cap(77))
	}
	have, err := parseCapEff("CapPrm:\t1\nCapEff:\t0000000000000020\n")
	if err != nil || have != 0x20 {
		t.Errorf("%x, %v", have, err)
	}
	if _, err := parseCapEff("nothing"); err == nil {
		t.Error("a missing line is no error")
	}
}
