package early

import (
	"os"
	"testing"
)

func TestNoProcessIsShownUntilItIsOver(t *testing.T) {
	if held == "" {
		t.Skip("the variable was set by whoever started the tests")
	}
	if got := os.Getenv(procEnv); got != held {
		t.Errorf("%s=%q before main", procEnv, got)
	}
	if err := Over(); err != nil {
		t.Fatal(err)
	}
	if got, set := os.LookupEnv(procEnv); set {
		t.Errorf("%s=%q afterwards: children would be told a wrong place", procEnv, got)
	}
}

func TestWhatSomebodyHasSetIsLeftAlone(t *testing.T) {
	t.Setenv(procEnv, "/host/proc")
	if hide() != "" || os.Getenv(procEnv) != "/host/proc" {
		t.Errorf("%s=%q", procEnv, os.Getenv(procEnv))
	}
	if err := Over(); err != nil || os.Getenv(procEnv) != "/host/proc" {
		t.Errorf("%s=%q, %v", procEnv, os.Getenv(procEnv), err)
	}
}
