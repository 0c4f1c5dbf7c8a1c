package command

import (
	"strings"
	"testing"
	"time"
)

func TestParametersThatCannotBeAreRefusedWithTheReason(t *testing.T) {
	for want, spoil := range map[string]func(*Params){
		"inject is missing":           func(p *Params) { p.Inject = nil },
		"revert is missing":           func(p *Params) { p.Revert = nil },
		"check is missing":            func(p *Params) { p.Check = nil },
		"there is no shell":           func(p *Params) { p.Inject = []string{"fence --off pg1"} },
		"name is empty":               func(p *Params) { p.Revert = []string{""} },
		"must be written out":         func(p *Params) { p.Check = []string{"/opt/{node}"} },
		"NUL":                         func(p *Params) { p.Inject = []string{"a", "b\x00"} },
		"looks like a secret":         func(p *Params) { p.Inject = []string{"fence", "--password=hunter2"} },
		"word 2 looks like a secret":  func(p *Params) { p.Inject = []string{"fence", "--token", "abc"} },
		"word 3 looks like a secret":  func(p *Params) { p.Check = []string{"curl", "-s", "https://me:pw@ipmi.example/"} },
		"absent: 0":                   func(p *Params) { p.Absent = 0 },
		"absent: 126":                 func(p *Params) { p.Absent = 126 },
		"timeout: 0s":                 func(p *Params) { p.Timeout = 0 },
		"timeout: 1m0s":               func(p *Params) { p.Timeout = time.Minute },
		"timeout: -1s":                func(p *Params) { p.Timeout = -time.Second },
		"every: 3s":                   func(p *Params) { p.Every = 3 * time.Second },
		`env: "A=b" is no name`:       func(p *Params) { p.Env = []string{"A=b"} },
		`env: "DAPPLE_NODE" is no`:    func(p *Params) { p.Env = []string{"DAPPLE_NODE"} },
		"put it into a script":        func(p *Params) { p.Inject = append(p.Inject, strings.Repeat("x", maxWord)) },
		"a command of 301 words":      func(p *Params) { p.Inject = append(p.Inject, make([]string, 299)...) },
		"revert: the program's name ": func(p *Params) { p.Revert = []string{""} },
	} {
		p := params()
		spoil(&p)
		if err := p.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if err := params().check(); err != nil {
		t.Error(err)
	}
	p := params()
	p.Inject = []string{"fence_ipmilan", "--ip", "{address}", "--password-script", "/etc/pw", "-o", "off"}
	p.Env = []string{"AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"}
	if err := p.check(); err != nil {
		t.Errorf("an honest command is refused: %v", err)
	}
}

func TestACommandIsShownAsAPersonWouldTypeIt(t *testing.T) {
	got := quoted([]string{"/usr/sbin/fence", "-o", "off now", "", "it's", "a=b,c", "$HOME", "ü"})
	if want := `/usr/sbin/fence -o 'off now' '' 'it'\''s' a=b,c '$HOME' 'ü'`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOutputIsBoundedAndHoldsNoSecret(t *testing.T) {
	var out tail
	for range 1000 {
		if _, err := out.Write([]byte("noise hunter22 \x1b[31m\n\tand more ")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	text := out.text([]string{"hunter22"})
	switch {
	case len(text) > maxSaid+len("… "), !strings.HasPrefix(text, "… "), !strings.HasSuffix(text, "the end"):
		t.Errorf("%d bytes: %.40q … %q", len(text), text, text[len(text)-20:])
	case strings.Contains(text, "hunter22"), strings.ContainsAny(text, "\x1b\n\t"), !strings.Contains(text, "***"):
		t.Errorf("%.200q", text)
	}
}
