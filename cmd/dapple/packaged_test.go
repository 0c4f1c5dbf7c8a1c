package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var packagedDir = flag.String("packaged", "", "write man pages and completions to this folder, for packages")

// TestThePackagesBringManPagesAndCompletions makes both from the command table, so
// that neither tells of a flag that is not there, and checks them with what reads
// them. Where they are wanted, they are kept (.goreleaser.yaml).
func TestThePackagesBringManPagesAndCompletions(t *testing.T) {
	dir := t.TempDir()
	if *packagedDir != "" {
		dir = *packagedDir
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := newRoot(stdio{nil, &bytes.Buffer{}, &bytes.Buffer{}})
	root.InitDefaultCompletionCmd()
	writePages(t, root, man)
	pages := 0
	for _, c := range visible(root) {
		pages++
		checkPage(t, c, filepath.Join(man, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1.gz"))
	}
	if found, err := filepath.Glob(filepath.Join(man, "*")); err != nil || len(found) != pages {
		t.Errorf("%d pages for %d commands: %v, %v", len(found), pages, found, err)
	}
	for shell, c := range map[string]struct {
		file  string
		write func(io.Writer) error
	}{
		"bash": {"dapple.bash", func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		"zsh":  {"_dapple", root.GenZshCompletion},
		"fish": {"dapple.fish", func(w io.Writer) error { return root.GenFishCompletion(w, true) }},
	} {
		path := filepath.Join(completions, c.file)
		write(t, path, c.write)
		if _, err := exec.LookPath(shell); err != nil {
			continue // read by a shell that is not here; the package is made all the same
		}
		if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s cannot read its completion: %v\n%s", shell, err, out)
		}
	}
}

// visible are the commands that a person may type, the root among them.
func visible(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, visible(sub)...)
		}
	}
	return list
}

// writePages writes the pages as they are installed. Their date is that of
// SOURCE_DATE_EPOCH, if it is set (reproducible-builds.org).
func writePages(t *testing.T, root *cobra.Command, dir string) {
	t.Helper()
	plain := t.TempDir()
	root.DisableAutoGenTag = true
	head := &doc.GenManHeader{Section: "1", Source: "dapple", Manual: "dapple"}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		head.Date = &time.Time{}
	}
	if err := doc.GenManTree(root, head, plain); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(plain, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(page)+".gz"), func(w io.Writer) error {
			z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
			if err == nil {
				_, err = z.Write(data)
			}
			if err != nil {
				return err
			}
			return z.Close()
		})
	}
}

func write(t *testing.T, path string, to func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := to(&b); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkPage reads a page as a person does, where man is here: it names every flag.
func checkPage(t *testing.T, c *cobra.Command, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	text := strings.ReplaceAll(string(data), `\-`, "-")
	if _, err := exec.LookPath("groff"); err == nil {
		cmd := exec.Command("groff", "-K", "utf8", "-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u")
		var said bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(data), &said
		out, err := cmd.Output()
		if err != nil || said.Len() > 0 {
			t.Errorf("%s: groff: %v\n%s", filepath.Base(path), err, said.String())
		}
		text = strings.NewReplacer("‐", "-", "−", "-").Replace(string(out))
	}
	for line := range strings.Lines(c.NonInheritedFlags().FlagUsages()) {
		flags := strings.Fields(line)
		if i := slices.IndexFunc(flags, func(w string) bool { return strings.HasPrefix(w, "--") }); i >= 0 && !strings.Contains(text, flags[i]) {
			t.Errorf("%s does not name %s", filepath.Base(path), flags[i])
		}
	}
}
