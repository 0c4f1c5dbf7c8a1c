// Package testenv lets a test say what it needs from the machine, and keeps the
// skips honest: root, a Docker engine, a PostgreSQL server, a kernel feature.
//
// A skip may not lie. Whoever runs the tests may declare what the machine has
// and lacks in two environment variables, comma-separated:
//
//	DAPPLE_HAVE=root,docker,postgres   a skip for one of these fails the test
//	DAPPLE_LACK=netem                  one of these that is found fails the test
//
// As soon as either is set, a need that is in neither list fails too, so that
// the lists stay complete. Without them, what is missing is skipped and said.
//
// The package starts no engine and installs nothing: .ci/docker-up does. It is
// for tests only.
package testenv

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// Need ends the test unless the machine has the feature. missing is why it does
// not, with the way to get it; nil if it is there.
func Need(t testing.TB, feature string, missing error) {
	t.Helper()
	switch what, why := decide(os.Getenv("DAPPLE_HAVE"), os.Getenv("DAPPLE_LACK"), feature, missing); what {
	case skip:
		t.Skip(why)
	case fail:
		t.Fatal(why)
	}
}

type decision int

const (
	run decision = iota
	skip
	fail
)

// decide is the whole rule, on data.
func decide(have, lack, feature string, missing error) (decision, string) {
	declared := have != "" || lack != ""
	has, lacks := listed(have, feature), listed(lack, feature)
	switch {
	case has && lacks:
		return fail, fmt.Sprintf("%s is in DAPPLE_HAVE and in DAPPLE_LACK: take it out of one", feature)
	case has && missing != nil:
		return fail, fmt.Sprintf("%s is in DAPPLE_HAVE, but it is missing: %v", feature, missing)
	case lacks && missing == nil:
		return fail, fmt.Sprintf("%s is in DAPPLE_LACK, but it is here: take it out, so that its tests run", feature)
	case declared && !has && !lacks:
		return fail, fmt.Sprintf("%s is neither in DAPPLE_HAVE nor in DAPPLE_LACK: add it to one", feature)
	case missing != nil:
		return skip, fmt.Sprintf("needs %s: %v", feature, missing)
	}
	return run, ""
}

func listed(list, feature string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == feature })
}
