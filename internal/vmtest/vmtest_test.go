package vmtest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapple-drills/dapple/internal/vmtest"
)

func TestTheTestsOfAPackageRunOnDebiansKernel(t *testing.T) {
	vmtest.Run(t, vmtest.Guest{
		Modules: []string{"sch_netem", "nf_tables", "crc32c_generic", "veth", "bridge", "ifb", "sch_ingress", "cls_bpf", "act_mirred"},
		Tests:   []string{"TestGuest"},
		Files:   map[string]string{"/etc/here": "vmtest_test.go", "/bin/dapple": program(t)},
		Env:     []string{"SAID=hello"},
		Timeout: 10 * time.Minute, // the doctor's looks, on a busy machine
	})
}

func TestGuestHasTheModulesAndWhatTheyDependOn(t *testing.T) {
	vmtest.Inside(t)
	loaded, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"sch_netem", "nf_tables", "nfnetlink", "libcrc32c"} {
		if !strings.Contains(string(loaded), m+" ") {
			t.Errorf("%s is not loaded:\n%s", m, loaded)
		}
	}
}

func TestGuestHasItsFilesAndFileSystems(t *testing.T) {
	vmtest.Inside(t)
	if data, err := os.ReadFile("/etc/here"); err != nil || !strings.HasPrefix(string(data), "package vmtest_test") {
		t.Errorf("the file that was sent: %.20q, %v", data, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Errorf("/sys/fs/cgroup is %#x, %v; want control groups, version 2", st.Type, err)
	}
	if got := os.Getenv("SAID"); got != "hello" {
		t.Errorf("the environment: SAID=%q", got)
	}
	if err := os.WriteFile(t.TempDir()+"/x", []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	for n := range 3 {
		fmt.Println("a line of the guest's own:", n)
	}
}
