package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills/checklist"
	"github.com/dapple-drills/dapple/drills/history"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/seal"
)

// Exit codes of verify, by the contract's meaning: something that was promised does
// not hold, and nobody can say.
const (
	exitBroken  = 1
	exitUnknown = 5
)

func verifyCmd(io stdio) *cobra.Command {
	var asJSON bool
	var keys []string
	c := &cobra.Command{
		Use:   "verify [RUN|FILE]",
		Short: "Tell whether records, or a signed checklist, are as they were",
		Long: `Compare what is there with what was kept.

Without an argument, all records of $DAPPLE_HOME: every file of every run directory
with the hash that the chain has of it, every line of the chain with the next one,
and the chain with what the database remembers. A record that was changed, removed
or inserted is named.

Of a RUN (an id, or a run directory), that one.

Of a FILE that "dapple checklist --out" has signed: its signature, with the public
keys of --key or of $DAPPLE_HOME/keys; the pages beside it; the records that it
names, as far as they are here; and whether the chain of records still goes through
the line at which the checklist was made, so that nothing before it was replaced.

Exit codes: 0 all is as it was; 1 something was changed, removed or inserted; 5
nobody can say: no known key has signed it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := homeDir()
			if err != nil {
				return err
			}
			if len(args) == 1 && isEnvelope(args[0]) {
				return verifyFile(c.Context(), io, home, args[0], keys, asJSON)
			}
			return verifyRecords(c.Context(), io, home, args, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.Flags().StringArrayVar(&keys, "key", nil, "a public key, as PEM, that is trusted; repeatable (default: those in $DAPPLE_HOME/keys)")
	return c
}

func isEnvelope(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	data, err := os.ReadFile(path)
	return err == nil && seal.Looks(data)
}

func verifyFile(ctx context.Context, io stdio, home, path string, trusted []string, asJSON bool) error {
	if len(trusted) == 0 {
		var err error
		if trusted, err = filepath.Glob(filepath.Join(home, "keys", "*.pub")); err != nil {
			return err
		}
	}
	var keys []seal.PublicKey
	for _, t := range trusted {
		k, err := seal.LoadPublicKey(t)
		if err != nil {
			return usage(err)
		}
		keys = append(keys, k)
	}
	v, err := checklist.Verify(ctx, home, path, keys)
	if errors.Is(err, seal.ErrUnknownKey) {
		return diag.Code(diag.Hint(err, "--key names the public key of who signed"), exitUnknown)
	}
	if err != nil {
		return usage(err)
	}
	what := fmt.Sprintf("the checklist of %s, signed with %s: %d pages and %d records are as they were signed", v.Quarter, v.Key, v.Files, v.Records)
	return sayVerified(io, v, what, v.Broken, v.Notes, asJSON)
}

func verifyRecords(ctx context.Context, io stdio, home string, args []string, asJSON bool) error {
	// First, so that runs from before there was a chain are in it.
	x, why, err := history.OpenAnyway(ctx, home, os.Getenv(databaseEnv))
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // it was only asked
	var v history.Verified
	if len(args) == 1 {
		dir, ferr := history.Find(filepath.Join(home, "runs"), args[0])
		if ferr != nil {
			return usage(ferr)
		}
		v, err = history.VerifyRun(home, dir)
	} else {
		v, err = history.Verify(ctx, home)
	}
	if err != nil {
		return err
	}
	witnessed, err := x.Witness(ctx)
	if why == nil {
		why = err
	}
	if why != nil {
		v.Notes = append(v.Notes, "no second witness of the chain: "+why.Error())
	} else {
		v.Broken = append(v.Broken, witnessed...)
	}
	what := fmt.Sprintf("%d records with %d files are as they were kept; the chain ends with %s", v.Links, v.Files, v.Head)
	if v.Links == 0 && len(v.Broken) == 0 {
		what = "there are no records in " + home
	}
	return sayVerified(io, v, what, v.Broken, v.Notes, asJSON)
}

// sayVerified tells what was found, and is the exit code.
func sayVerified(io stdio, v any, what string, broken, notes []string, asJSON bool) error {
	code := exitPass
	if len(broken) > 0 {
		code = exitBroken
	}
	if asJSON {
		return errors.Join(json.NewEncoder(io.out).Encode(v), exit(code))
	}
	for _, n := range notes {
		fmt.Fprintf(io.err, "note: %s\n", n)
	}
	for _, b := range broken {
		fmt.Fprintf(io.out, "NOT AS IT WAS: %s\n", b)
	}
	if code == exitPass {
		fmt.Fprintf(io.out, "verified: %s\n", what)
	}
	return exit(code)
}
