package command

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"unicode"

	"github.com/dapple-drills/dapple/internal/diag"
)

const (
	// maxSaid is how much of what a command wrote is kept, from its end.
	maxSaid = 2048
	// minSecret is the length from which a value is looked for in what is recorded:
	// a shorter one is in any text.
	minSecret = 4
)

// passed is what every command gets of our own environment, if it is there.
var passed = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// environment is that of a command, and the values in it that must not be
// recorded.
func environment(s state, verb string) (env, secrets []string, err error) {
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, name := range s.Env {
		v, ok := os.LookupEnv(name)
		if !ok {
			return nil, nil, diag.Hint(fmt.Errorf("the environment variable %s, which the commands need, is not set", name), "export "+name+"=…, and do it again")
		}
		env = append(env, name+"="+v)
		if len(v) >= minSecret {
			secrets = append(secrets, v)
		}
	}
	return append(env, s.variables(verb)...), secrets, nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
	lost bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Twice as much is kept as is shown, so that a secret at the cut is seen whole.
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - 2*maxSaid; over > 0 {
		t.kept, t.lost = append(t.kept[:0], t.kept[over:]...), true
	}
	return len(p), nil
}

// text is the end of what was written, in one line, without the secrets.
func (t *tail) text(secrets []string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.kept)
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	cut := t.lost
	if over := len(text) - maxSaid; over > 0 {
		text, cut = strings.ToValidUTF8(text[over:], ""), true
	}
	if cut {
		text = "… " + text
	}
	return text
}
