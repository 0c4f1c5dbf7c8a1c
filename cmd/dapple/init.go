package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/starter"
	"github.com/dapple-drills/dapple/targets/docker"
)

func initCmd(g *globals, io stdio) *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "init [HOST:PORT…]",
		Short: "Write a first system file and scenario for what is found running",
		Long: `Look for systems that dapple can drill, and write for each a system file and a
first scenario, with comments that say what is known, guessed, and yours to say.
It asks the Docker engine for its containers, and Patroni (8008) and etcd (2379)
in them, on this machine, and at the addresses that are given. It changes nothing,
and overwrites no file.`,
		Example: "  dapple init --dir drills\n  dapple init 10.0.0.5:2379",
		RunE: func(c *cobra.Command, args []string) error {
			look := newLook(args)
			engine, err := docker.Connect(c.Context())
			if err == nil {
				look.containers, err = engine.Running(c.Context())
				err = errors.Join(err, engine.Close())
			}
			if err != nil {
				fmt.Fprintf(progress(g, io), "containers are not looked at: %v\n", err)
			}
			found := look.systems(c.Context())
			if len(found) == 0 {
				return usage(diag.Hint(errors.New("no system was found that dapple knows"),
					"name an address of Patroni's REST API or of etcd (dapple init HOST:PORT), or begin with: dapple demo"))
			}
			return writeStarters(io, dir, found, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where the files are written; it is made if it is not there")
	c.Flags().BoolVar(&asJSON, "json", false, "what was written, as JSON")
	return c
}

// A starterFile is one that is to be written.
type starterFile struct {
	path string
	data []byte
}

// writeStarters writes all files, or none if one of them is there already.
func writeStarters(io stdio, dir string, found []starter.System, asJSON bool) error {
	var files []starterFile
	for _, s := range found {
		base := filepath.Join(dir, cmp.Or(slug(s.Name), "system"))
		sys, err := s.SystemFile()
		if err != nil {
			return err
		}
		sc, err := s.ScenarioFile()
		if err != nil {
			return err
		}
		files = append(files, starterFile{base + ".yaml", sys}, starterFile{base + "-primary-kill.yaml", sc})
	}
	for _, f := range files {
		if _, err := scenarios.Check(f.path, f.data, vocabulary()); err != nil {
			return fmt.Errorf("what would be written is not right: %w", err)
		}
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			return usage(diag.Hint(fmt.Errorf("%s is there already: nothing was written, and nothing is overwritten", f.path), "name another place with --dir"))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return usage(err)
	}
	for _, f := range files {
		if err := create(f); err != nil {
			return usage(err)
		}
	}
	if asJSON {
		return json.NewEncoder(io.out).Encode(startersJSON(found, files))
	}
	for i, s := range found {
		sys, sc := files[2*i].path, files[2*i+1].path
		fmt.Fprintf(io.out, "%s\n  %s\n  %s\n", s.Found, sys, sc)
		for _, g := range s.Guesses {
			fmt.Fprintf(io.out, "  look at this: %s\n", g)
		}
		fmt.Fprintf(io.out, "  next: dapple plan %s --on %s\n", sc, sys)
	}
	return nil
}

// starterJSON is an element of the list of --json.
type starterJSON struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Found    string   `json:"found"`
	System   string   `json:"system_file"`
	Scenario string   `json:"scenario_file"`
	Guesses  []string `json:"guesses"`
}

func startersJSON(found []starter.System, files []starterFile) []starterJSON {
	out := []starterJSON{}
	for i, s := range found {
		out = append(out, starterJSON{s.Name, s.Kind, s.Found, files[2*i].path, files[2*i+1].path, append([]string{}, s.Guesses...)})
	}
	return out
}

// create writes a file that is not there.
func create(f starterFile) (err error) {
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = out.Write(f.data)
	return err
}

// common is the label that all of the containers have and no other has, or "":
// those that people give come before those of tools.
func common(of, all []docker.Container) string {
	best := ""
	for key, value := range of[0].Labels {
		n := 0
		for _, c := range all {
			if v, ok := c.Labels[key]; ok && v == value {
				n++
			}
		}
		shared := true
		for _, c := range of {
			v, ok := c.Labels[key]
			shared = shared && ok && v == value
		}
		label := key + "=" + value
		if shared && n == len(of) && (best == "" || rankOf(label) < rankOf(best)) {
			best = label
		}
	}
	return best
}

// rankOf sorts labels: short ones without a domain first.
func rankOf(label string) string {
	return fmt.Sprintf("%d %4d %s", min(1, strings.Count(strings.SplitN(label, "=", 2)[0], ".")), len(label), label)
}
