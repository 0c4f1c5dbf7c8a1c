package ssh

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestWhatAMachineSaysIsReadAndNoiseIsNot(t *testing.T) {
	const good = mark + "os=Linux\n" + mark + "arch=x86_64\n" + mark + "path=/root/.cache/dapple/agent/x\n"
	for text, want := range map[string]facts{
		good + mark + "root=yes\n" + mark + "end=.\n": {os: "Linux", arch: "x86_64", path: "/root/.cache/dapple/agent/x", root: "yes"},
		good + mark + "root=no sudo: a\n sudo: b\n" + mark + "sum=ab  -\n" + mark + "end=.\n": {
			os: "Linux", arch: "x86_64", path: "/root/.cache/dapple/agent/x", root: "no sudo: a sudo: b", sum: "ab"},
	} {
		got, err := readFacts(strings.NewReader(text))
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	var noise noiseError
	if _, err := readFacts(strings.NewReader("welcome to db1\n" + good)); !errors.As(err, &noise) || !strings.Contains(err.Error(), "welcome to db1") {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", good, good + mark + "root=yes"} {
		if _, err := readFacts(strings.NewReader(text)); !errors.Is(err, errSilent) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add(mark + "os=Linux\n" + mark + "end=.\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := readFacts(strings.NewReader(text)); err == nil && !strings.Contains(text, mark+"end=") {
			t.Error("what did not end was believed")
		}
	})
}

func TestAWordStaysOneWordForEveryShell(t *testing.T) {
	const word = "it's $HOME `id` \\ \"x\" *"
	for _, shell := range []string{"sh", "bash"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue // bash is not on every machine, sh is
		}
		out, err := exec.Command(shell, "-c", sh(`printf %s "$1"`, word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%s: %q, %v", shell, out, err)
		}
	}
}

func TestWhyAMachineIsOutOfReachComesWithTheWayOut(t *testing.T) {
	for said, want := range map[string]string{
		"ssh: Could not resolve hostname db9: Name or service not known": "there is no machine of that name",
		"root@db1: Permission denied (publickey,password).":              "lets nobody in by what was offered (publickey,password)",
		"ssh: connect to host db1 port 22: Connection refused":           "cannot be reached",
		"No ED25519 host key is known for [db1]:2222 and you have requested strict checking.\nHost key verification failed.\ndebug1: Server host key: ssh-ed25519 SHA256:abc": "host key (ssh-ed25519 SHA256:abc) is not known as that of [db1]:2222",
		"The fingerprint for the ED25519 key sent by the remote host is\nSHA256:xyz.\nOffending ED25519 key in /h/known_hosts:3\nHost key verification failed.":               "host key (ED25519 SHA256:xyz) is not the one that is known (/h/known_hosts:3)",
		"something new": "it wrote: something new",
	} {
		err := explain("db1", said, errors.New("exit status 255"))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", said, err, want)
		}
		if strings.Contains(want, "host key") != errors.Is(err, ErrHostKey) {
			t.Errorf("%v", err)
		}
	}
	if got := scanArgs("[db1]:2222"); got != "-p 2222 db1" {
		t.Error(got)
	}
}
