package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/journal"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/trust"
	"github.com/dapple-drills/dapple/scenarios"
	"github.com/dapple-drills/dapple/scenarios/library"
	"github.com/dapple-drills/dapple/targets/testcluster"
)

// clusterPrefix marks a --on that is a built-in cluster.
const clusterPrefix = "cluster:"

// drillFiles are what a drill was asked for with, read and checked.
type drillFiles struct {
	scenario     *scenarios.Scenario
	scenarioName string
	scenarioData []byte
	foreign      error             // why the scenario is not the operator's own file; nil if it is
	system       *scenarios.System // nil for a built-in cluster
	systemData   []byte
	strange      error  // why the system file is not the operator's own; nil if it is
	cluster      string // the built-in cluster's name, or ""
}

// loadFiles reads both files and reports every problem of both, also that they
// are not for each other.
func loadFiles(f drillFlags) (drillFiles, error) {
	d, err := readFiles(f)
	if err == nil {
		err = usage(d.kindFits())
	}
	return d, err
}

// readFiles reads both files and reports every problem of both.
func readFiles(f drillFlags) (drillFiles, error) {
	if f.trials < 0 {
		return drillFiles{}, usage(fmt.Errorf("--trials %d: at least one", f.trials))
	}
	if err := new(scenarios.Environment).UnmarshalText([]byte(f.pinned)); f.pinned != "" && err != nil {
		return drillFiles{}, usage(fmt.Errorf("--environment: %w", err))
	}
	d, serr := loadSystem(f.on)
	data, foreign, err := readScenario(f.scenario)
	if err != nil {
		return d, usage(errors.Join(err, serr))
	}
	d.scenarioName, d.scenarioData, d.foreign = f.scenario, data, foreign
	d.scenario, err = scenarios.ParseScenario(f.scenario, data, vocabulary())
	if err := errors.Join(err, serr); err != nil {
		return d, usage(err)
	}
	if f.trials > 0 {
		d.scenario.Trials = f.trials
	}
	return d, nil
}

// kindFits finds before a built-in cluster is started that it is not what the
// scenario is for.
func (d drillFiles) kindFits() error {
	want := d.scenario.Requires.Kind
	for _, c := range testcluster.Names() {
		if c.Name == d.cluster && len(want) > 0 && !slices.Contains(want, c.Kind) {
			return fmt.Errorf("the scenario %s is for %s, and the cluster %s is of kind %s", d.scenarioName, strings.Join(want, ", "), c.Name, c.Kind)
		}
	}
	return nil
}

// loadSystem reads the system file of --on, or finds that it is a built-in
// cluster.
func loadSystem(on string) (d drillFiles, err error) {
	if on == "" {
		return d, usage(diag.Hint(errors.New("no system was named"), "say which with --on: a system file, or cluster:NAME (see `dapple cluster list`)"))
	}
	if name, ok := strings.CutPrefix(on, clusterPrefix); ok {
		d.cluster = name
		return d, usage(vocabulary().CheckCluster(name))
	}
	if d.systemData, d.strange, err = readFile(on); err != nil {
		return d, usage(fmt.Errorf("read the system file: %w", err))
	}
	d.system, err = scenarios.ParseSystem(on, d.systemData, vocabulary())
	return d, usage(err)
}

// readScenario reads a scenario file, or, if there is none of that name, the one
// of the library that is built in. foreign is why it is not a file of the
// operator's own, of which commands may be run.
func readScenario(name string) (data []byte, foreign, err error) {
	data, foreign, err = readFile(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, foreign, err
	}
	_, data, err = library.Find(name)
	return data, diag.Hint(fmt.Errorf("%s is built into dapple: %w", name, trust.ErrForeign), "write a file of your own"), err
}

// readFile reads a file and judges whose it is, by one and the same descriptor.
func readFile(name string) (data []byte, foreign, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err = io.ReadAll(f)
	return data, trust.File(name, info), err
}

// runID is a new run's id: sortable by time, unique.
func runID() string {
	return strings.ToLower(ulid.MustNew(ulid.Timestamp(time.Now()), rand.Reader).String())
}

// homeDir is $DAPPLE_HOME, or its default.
func homeDir() (string, error) { return journal.Home() }

// filesIn are the .yaml files below a folder, of the kinds that are wanted.
func filesIn(dir string, want func(scenarios.FileKind) bool) (files []string, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".yaml" && filepath.Ext(p) != ".yml" {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil && want(scenarios.Sniff(data)) {
			files = append(files, p)
		}
		return err
	})
	return files, err
}

func checkCmd(out stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE|FOLDER…",
		Short: "Check scenario, system, schedule and roster files: every problem, with its place; touches nothing",
		Long: `Check scenario, system, schedule and roster files. Every problem is told, with its
place and how to mend it; nothing is touched. Of a folder, all files below it that are
of these kinds are checked, and other .yaml files are named on stderr.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := checkedFiles(out, args)
			if err != nil {
				return usage(err)
			}
			bad := 0
			for _, name := range files {
				if err := checkFile(name); err != nil {
					bad++
					if err := diag.Write(out.out, err); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(out.out, "%s: ok\n", name)
			}
			if bad > 0 {
				return exit(exitUsage)
			}
			return nil
		},
	}
}

// checkedFiles are the files that are named, and those of dapple's in the folders
// that are.
func checkedFiles(out stdio, names []string) (files []string, err error) {
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			files = append(files, name) // what is not there may be of the library
			continue
		}
		ours, err := filesIn(name, func(k scenarios.FileKind) bool { return k != scenarios.Unclear })
		if err != nil {
			return nil, err
		}
		others, err := filesIn(name, func(k scenarios.FileKind) bool { return k == scenarios.Unclear })
		if err != nil {
			return nil, err
		}
		for _, f := range others {
			fmt.Fprintf(out.err, "%s: left out, neither a scenario nor a system, schedule or roster\n", f)
		}
		if len(ours) == 0 {
			return nil, diag.Hint(fmt.Errorf("the folder %s holds no file to check", name), "scenarios, systems, schedules and rosters are .yaml files")
		}
		files = append(files, ours...)
	}
	return files, nil
}

func checkFile(name string) error {
	data, _, err := readScenario(name)
	if err != nil {
		return err
	}
	kind, err := scenarios.Check(name, data, vocabulary())
	if err == nil && kind == scenarios.IsSchedule {
		_, err = loadSchedules([]string{name})
	}
	return err
}

func schemaCmd(out stdio) *cobra.Command {
	return &cobra.Command{
		Use:       "schema [scenario|system|schedule]",
		Short:     "Print the JSON Schema of a file, for editors",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"scenario", "system", "schedule"},
		RunE: func(_ *cobra.Command, args []string) error {
			of := "scenario"
			if len(args) > 0 {
				of = args[0]
			}
			data, err := scenarios.Schema(of, vocabulary())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out.out, "%s\n", data)
			return err
		},
	}
}
