package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var slowDocs = flag.Bool("docs", false, "also run what documents mark as slow: whole drills (make docs)")

// TestTheCommandsOfTheDocumentsAreRun types the commands of each page, in its order,
// into a shell in a folder of the page's own, with the files that the page shows. A
// comment before a block says what is different about it:
//
//	<!-- slow -->            minutes: only "make docs" runs it
//	<!-- exit 1 -->          the exit code of its last command
//	<!-- file: NAME -->      the YAML below is the file of that name
//	<!-- run by: a.txtar --> a script in testdata/script runs these commands, with
//	                         these flags and other files
//	<!-- not run: WHY -->    it is only looked at
//
// What is in testdata/docs/PAGE is there as well, and the repository's scenarios are.
func TestTheCommandsOfTheDocumentsAreRun(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, "docs/reference/") || p.path == "docs/track-record.md" {
			continue // made from the program, and by make proof, which ran them: only looked at
		}
		dir := ""
		for _, b := range p.blocks {
			if _, ok := b.note("file"); !ok && !b.isCommands() {
				continue
			}
			if dir == "" {
				dir = sandbox(t, p.path)
			}
			if b.do(t, dir, bin) {
				ran++
			}
		}
	}
	if ran < 2 {
		t.Errorf("only %d blocks were run: the test would hold for nothing", ran)
	}
}

// sandbox is the folder in which a page's commands are typed.
func sandbox(t *testing.T, page string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := filepath.Join("testdata/docs", strings.TrimSuffix(filepath.Base(page), ".md"))
	if _, err := os.Stat(files); err == nil {
		if err := os.CopyFS(dir, os.DirFS(files)); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	scenarios, err := filepath.Abs(filepath.Join(root, "scenarios"))
	if err == nil {
		err = os.Symlink(scenarios, filepath.Join(dir, "scenarios"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// do does what the page says of the block; ran is whether commands were run.
func (b block) do(t *testing.T, dir, bin string) (ran bool) {
	t.Helper()
	if name, ok := b.note("file"); ok {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.text()), 0o600); err != nil {
			t.Fatal(err)
		}
		return false
	}
	if why, ok := b.note("not run"); ok {
		if len(strings.Fields(why)) < 3 {
			t.Errorf("%s: it is not run, and not said why", b.at())
		}
		return false
	}
	if scripts, ok := b.note("run by"); ok {
		for _, problem := range b.lacking(t, scripts) {
			t.Error(problem)
		}
		return false
	}
	if _, ok := b.note("slow"); ok && !*slowDocs {
		return false
	}
	want := "0"
	if code, ok := b.note("exit"); ok {
		want = code
	}
	list := b.commands()
	for i, c := range list {
		wanted := "0"
		if i == len(list)-1 {
			wanted = want
		}
		if got, said := typeIn(t, dir, bin, c.text); got != wanted {
			t.Errorf("%s: %s: exit code %s, want %s\n%s", c.at, c.text, got, wanted, said)
			return true // the next ones build on it
		}
	}
	return len(list) > 0
}

// endless is how long a command takes that never ends by itself, such as a service:
// its block is one that is not run. Five trials of the tutorial take half of it.
const endless = 10 * time.Minute

// typeIn runs a line in a shell. A drill that could not tell, which is an answer on a
// machine that was busy, is done again, twice at most.
func typeIn(t *testing.T, dir, bin, line string) (code, said string) {
	t.Helper()
	words := shellWords(line)
	drill := len(words) > 1 && words[0] == "dapple" && slices.Contains([]string{"run", "demo", "selftest"}, words[1])
	for try := 0; try < 3 && (try == 0 || drill && code == fmt.Sprint(unproven)); try++ {
		if i := slices.Index(words, "--out"); try > 0 && i > 0 && i+1 < len(words) {
			if err := os.RemoveAll(filepath.Join(dir, words[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		ctx, stop := context.WithTimeout(t.Context(), endless)
		shell := line
		if words[0] == "dapple" {
			shell = "exec " + line // so that the deadline is its own, and not the shell's
		}
		cmd := exec.CommandContext(ctx, "sh", "-c", shell)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
		cmd.Env = append(os.Environ(), "HOME="+dir, "DAPPLE_HOME="+filepath.Join(dir, ".dapple"), "NO_COLOR=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		cmd.WaitDelay = 10 * time.Second // what it leaves running must not hold its output
		err := cmd.Run()
		stop()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code, said = fmt.Sprint(cmd.ProcessState.ExitCode()), out.String()
		t.Logf("%s (exit code %s)\n%s", line, code, said)
	}
	return code, said
}

// lacking are the commands of the block that no line of the scripts runs, or not with
// a flag that the block has.
func (b block) lacking(t *testing.T, scripts string) (list []string) {
	t.Helper()
	run := map[string]map[string]bool{}
	for _, name := range strings.Split(scripts, ",") {
		data, err := os.ReadFile(filepath.Join("testdata/script", strings.TrimSpace(name)))
		if err != nil {
			return []string{b.at() + ": " + err.Error()}
		}
		for line := range strings.Lines(string(data)) {
			if i := strings.Index(line, "dapple "); i >= 0 && !strings.HasPrefix(line, "#") {
				command, flags := flagsOf(substituted.ReplaceAllString(line[i:], "x"))
				if run[command] == nil {
					run[command] = map[string]bool{}
				}
				for _, f := range flags {
					run[command][f] = true
				}
			}
		}
	}
	for _, c := range b.commands() {
		command, flags := flagsOf(c.text)
		if run[command] == nil {
			list = append(list, fmt.Sprintf("%s: no script of %s runs %s", c.at, scripts, command))
		}
		for _, f := range flags {
			if run[command] != nil && !run[command][f] {
				list = append(list, fmt.Sprintf("%s: no script of %s runs %s with %s", c.at, scripts, command, f))
			}
		}
	}
	return list
}

// substituted is what the shell replaces by the output of a command.
var substituted = regexp.MustCompile(`\$\([^)]*\)`)

// flagsOf is the command of a line, and the flags that it is given.
func flagsOf(line string) (command string, flags []string) {
	words := shellWords(line)
	top := newRoot(stdio{nil, &bytes.Buffer{}, &bytes.Buffer{}})
	c, rest, err := top.Find(words[1:])
	if err != nil {
		return line, nil
	}
	for _, w := range rest {
		if strings.HasPrefix(w, "-") {
			name, _, _ := strings.Cut(w, "=")
			flags = append(flags, name)
		}
	}
	return c.CommandPath(), flags
}
