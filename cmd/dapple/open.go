package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports"
)

// openReport shows the run's page with the program that this desktop has for it.
// The page is written anew if it is not there.
func openReport(ctx context.Context, io stdio, run reports.Run) error {
	page, err := filepath.Abs(filepath.Join(run.Dir, "report.html"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(page); errors.Is(err, os.ErrNotExist) {
		if err := reports.Write(run.Dir, run, "html"); err != nil {
			return err
		}
	}
	program := opener(os.Getenv, runtime.GOOS)
	if out, err := exec.CommandContext(ctx, program, page).CombinedOutput(); err != nil {
		return diag.Hint(fmt.Errorf("open %s with %s: %w: %s", page, program, err, out), "open the file by hand, or name a program in $BROWSER")
	}
	_, err = fmt.Fprintf(io.err, "opened %s\n", page)
	return err
}

// opener is the program that opens a file: $BROWSER, else what the system has.
func opener(getenv func(string) string, goos string) string {
	switch {
	case getenv("BROWSER") != "":
		return getenv("BROWSER")
	case goos == "darwin":
		return "open"
	}
	return "xdg-open"
}
