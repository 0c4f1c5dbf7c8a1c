package netem

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/internal/tc"
	"github.com/dapple-drills/dapple/internal/testenv"
	"github.com/dapple-drills/dapple/internal/vmtest"
	"github.com/dapple-drills/dapple/targets/netns"
)

func TestOnDebiansKernel(t *testing.T) {
	vmtest.Run(t, vmtest.Guest{
		Modules: []string{"veth", "bridge", "ifb", "sch_netem", "sch_ingress", "cls_bpf", "act_mirred"},
		Have:    "root,netem",
		Tests:   []string{"TestTheKernelsEngine"},
		Timeout: 10 * time.Minute, // on a busy machine
	})
}

// newKernelLab makes a lab where the kernel has netem.
func newKernelLab(t *testing.T, names ...string) *netns.Lab {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.Need(t, "netem", tc.Try())
	l, err := netns.New(t.Context(), netns.Named(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestTheKernelsEngineIsProvenAndTakenBack(t *testing.T) {
	nodes := newKernelLab(t, "a", "b", "c").Nodes()
	for _, with := range []string{
		`{"delay": "100ms", "direction": "both"}`,
		`{"delay": "50ms", "jitter": "10ms", "distribution": "normal", "correlation": "25%", "direction": "ingress"}`,
		`{"delay": "50ms", "jitter": "10ms"}`,
		`{"delay": "50ms", "jitter": "5ms", "distribution": "pareto", "peers": ["b"]}`,
		`{"loss": "20%"}`,
		`{"bursts": {"begin": "5%", "end": "20%"}, "direction": "both"}`,
		`{"duplicate": "20%"}`,
		`{"corrupt": "20%"}`,
		`{"delay": "30ms", "reorder": "25%"}`,
		`{"rate": "1mbit"}`,
		`{"rate": "1mbit", "delay": "10ms"}`,
		`{"delay": "100ms", "ports": ["5432", "8000-8100"], "interface": "eth0"}`,
	} {
		t.Run(with, func(t *testing.T) {
			// Without a word on the engine, it is the kernel's where there is one.
			h := impair(t, nodes, with)
			if h.state.Engine != kernelEngine || !strings.Contains(h.fault.Undo, "ip link del dapple") {
				t.Errorf("engine %s, undo %q", h.state.Engine, h.fault.Undo)
			}
			// Another process can tell, and take it back.
			other := newImpairer(defaults(), kernelGround{}, engines())
			t.Log((&held{fault: h.fault, state: h.state, node: h.node, imp: other, inj: injectors.Of(kind, other)}).proof(t))
			if err := other.Revert(t.Context(), h.node, h.state); err != nil {
				t.Fatal(err)
			}
			if ok, proof, err := other.Reverted(t.Context(), h.node, h.state); !ok || err != nil {
				t.Errorf("reverted: %v, %q, %v", ok, proof, err)
			}
			if held, proof, err := h.imp.Effect(t.Context(), h.node, h.state); held || err != nil {
				t.Errorf("its hole is not seen: %q, %v", proof, err)
			}
		})
	}
}
