package ssh

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// facts are what a machine says of itself.
type facts struct {
	os, arch string // in the words of uname(1)
	root     string // "yes", "sudo", or "no" and why
	path     string // of the program over there
	sum      string // of what is there under that path; "" if nothing is
}

// mark begins each line of the script's.
const mark = "dapple: "

// script looks at the machine, and then keeps the connection until its stdin ends.
// It is read by a POSIX shell from its stdin, so that no login shell has to
// understand it.
func script(dir, name string, sum bool) string {
	if dir == "" {
		dir = `${XDG_CACHE_HOME:-$HOME/.cache}/dapple/agent`
	} else {
		dir = strings.NewReplacer("`", "", "$", "", `"`, "", `\`, "").Replace(dir) // refused before, see Options.check
	}
	look := ":"
	if sum {
		look = `if [ -f "$p" ]; then f sum "$(sha256sum <"$p")"; fi`
	}
	return `f() { printf '` + mark + `%s=%s\n' "$1" "$2"; }
f os "$(uname -s)"
f arch "$(uname -m)"
p="` + dir + `/` + name + `"
f path "$p"
if [ "$(id -u)" = 0 ]; then f root yes
elif s=$(sudo -n true 2>&1); then f root sudo
else f root "no $s"
fi
` + look + `
f end .
exec cat >/dev/null
`
}

// readFacts reads what script says. What else is in it comes from the start-up
// files of a shell, and would also stand before what an agent says.
func readFacts(r io.Reader) (f facts, err error) {
	into := map[string]*string{"os": &f.os, "arch": &f.arch, "path": &f.path, "root": &f.root, "sum": &f.sum}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return f, errSilent
		}
		fact, is := strings.CutPrefix(strings.TrimRight(line, "\r\n"), mark)
		name, value, ok := strings.Cut(fact, "=")
		switch {
		case !is && f.root != "":
			f.root += " " + strings.TrimSpace(line) // sudo's words may have several lines
		case !is || !ok:
			return f, noiseError(line)
		case name == "end":
			f.sum, _, _ = strings.Cut(f.sum, " ")
			return f, nil
		case into[name] != nil:
			*into[name] = value
		}
	}
}

// A noiseError is what was said instead of facts.
type noiseError string

func (e noiseError) Error() string {
	return fmt.Sprintf("it said %q before it was asked", strings.TrimSpace(string(e)))
}

// quote makes one word of a shell's.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

func quoteAll(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// sh is a command line that any login shell passes on to a POSIX shell.
func sh(text string, args ...string) string {
	return "exec sh -c " + quoteAll(append([]string{text, "sh"}, args...))
}

// install puts what is on stdin into $1, if its checksum is $2: whole, or not at
// all. Programs of other versions that nobody used for a week are removed.
const install = `set -e; umask 077; d=$(dirname "$1"); mkdir -p "$d"; t=$(mktemp "$d/.new.XXXXXX"); ` +
	`trap "rm -f \"$t\"" EXIT; cat >"$t"; s=$(sha256sum <"$t"); ` +
	`if [ "${s%% *}" != "$2" ]; then echo "what arrived is not what was sent" >&2; exit 9; fi; ` +
	`chmod 700 "$t"; mv -f "$t" "$1"; find "$d" -name "dapple-*" -mtime +7 -exec rm -f {} + 2>/dev/null || true`

// start runs the program $1 for the drill $2 with the further arguments, marked by
// the process that serves the connection: a run of this line has it as its parent.
func start(root, markEnv string) string {
	run := `exec env "` + markEnv + `=$m" "$p" "$@"`
	if root != "yes" {
		run = `exec sudo -n -- env "` + markEnv + `=$m" "$p" "$@"`
	}
	return `p=$1; d=$2; shift 2; m=$(read -r x </proc/$PPID/stat; set -f; set -- $x; echo "$PPID ${22}"); m="$d $m"; touch -c "$p"; ` + run
}
