package procs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/faketarget"
)

func proc(pid, parent int, name string, args ...string) targets.Proc {
	return targets.Proc{ProcID: targets.ProcID{PID: pid}, Parent: parent, Name: name, Args: args}
}

func TestAProcessIsFoundByTheNamesThatPeopleKnowItBy(t *testing.T) {
	script := proc(2, 1, "python3", "/usr/bin/python3.11", "/usr/bin/patroni", "/etc/patroni.yml")
	tini := proc(1, 0, "tini", "tini", "--", "patroni", "/etc/patroni.yml")
	tini.Main = true
	for _, c := range []struct {
		name, word, part string
		procs            []targets.Proc
		want             []int
	}{
		{"a script by its name", "patroni", "patroni", []targets.Proc{script}, []int{2}},
		{"a reaper is not the manager", "patroni", Manager, []targets.Proc{tini, script}, []int{2}},
		{"a manager that is pid 1 itself", "patroni", Manager, []targets.Proc{{ProcID: targets.ProcID{PID: 1}, Name: "patroni", Main: true}}, []int{1}},
		{"an argument is no name", "relay", "relay", []targets.Proc{proc(3, 1, "cat", "cat", "/var/log/relay")}, nil},
		{"an interpreter's option is no name", "patroni", "patroni", []targets.Proc{proc(3, 1, "python3", "python3", "-m", "patroni")}, nil},
		{"but a manager's is", "patroni", Manager, []targets.Proc{proc(3, 1, "python3", "python3", "-m", "patroni")}, []int{3}},
		{"a long name is cut by the kernel", "a-very-long-name-indeed", "", []targets.Proc{proc(3, 1, "a-very-long-nam")}, []int{3}},
		{"a circle of parents ends", "x", "x", []targets.Proc{proc(3, 4, "y"), proc(4, 3, "x")}, []int{4}},
	} {
		var got []int
		for _, p := range Tops(c.procs, []string{c.word}, c.part) {
			got = append(got, p.PID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

var parts = map[string][]string{"server": {"postgres"}, "manager": {"patroni"}}

// The node is 1 patroni (a reaper), its children 2 patroni and 6 relay, 2's child
// 3 postgres, and 3's children 4 and 5 postgres.
func TestATreeIsAProcessAndItsDescendantsButAManagersHasNoServer(t *testing.T) {
	for c, want := range map[Choice][]int{
		{Main, false}:      {1},
		{Main, true}:       {1, 2, 3, 4, 5, 6},
		{All, false}:       {1, 2, 3, 4, 5, 6},
		{Server, false}:    {3},
		{Server, true}:     {3, 4, 5},
		{Manager, false}:   {2},
		{Manager, true}:    {2},
		{"postgres", true}: {3, 4, 5},
		{"relay", true}:    {6},
	} {
		n := faketarget.Patroni("pg1")
		all, err := n.Processes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, err := c.Find(all, parts)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, p := range found {
			got = append(got, p.PID-all[0].PID+1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}

func TestWhatIsNotThereOrNotClearIsRefusedWithWhatThereIs(t *testing.T) {
	two := []targets.Proc{proc(1, 0, "init"), proc(2, 1, "postgres"), proc(3, 1, "postgres")}
	for process, says := range map[string]string{
		"mysqld":   "there are: init (pid 1), postgres (pid 2)",
		"postgres": "2 processes",
		Main:       "main process",
		Manager:    "give the process by its name",
	} {
		if _, err := (Choice{Process: process}).Find(two, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", process, err)
		}
	}
	for _, process := range []string{"", " ", "/bin/sh", "a\x00b"} {
		if err := (Choice{Process: process}).Check(); err == nil {
			t.Errorf("%q is taken for the name of a process", process)
		}
	}
}
