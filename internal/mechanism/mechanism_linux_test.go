package mechanism

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapple-drills/dapple/internal/testenv"
)

// An answer must be that of the kernel, not of chance: twice the same, and nothing
// of the question is left.
func TestEveryMechanismIsTriedTwiceAlikeAndLeavesNothing(t *testing.T) {
	for _, m := range List() {
		t.Run(m.Name, func(t *testing.T) {
			if m.For == "" {
				t.Error("what is it for?")
			}
			first, second := m.Try(t.Context()), m.Try(t.Context())
			if (first == nil) != (second == nil) {
				t.Errorf("first %v, then %v", first, second)
			}
			t.Logf("%v", first)
		})
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		if left, _ := filepath.Glob(dir + "/dapple-doctor-*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if kids, err := os.ReadFile("/proc/thread-self/children"); err == nil && strings.TrimSpace(string(kids)) != "" {
		t.Errorf("children left: %s", kids)
	}
}

// The answers agree with those of the tools that people would ask.
func TestTheQdiscsThatAreSaidToBeHereCanBeMadeByTheUsualTool(t *testing.T) {
	testenv.NeedRoot(t)
	for kind, args := range map[string]string{"netem": "root netem delay 1ms", "tbf": "root tbf rate 1mbit burst 10kb latency 50ms", "clsact": "clsact"} {
		err := queue(kind)(t.Context())
		out, tool := exec.Command("unshare", append([]string{"--net", "tc", "qdisc", "add", "dev", "lo"}, strings.Fields(args)...)...).CombinedOutput()
		if (err == nil) != (tool == nil) {
			t.Errorf("%s: %v, and tc says %v: %s", kind, err, tool, out)
		}
	}
}
