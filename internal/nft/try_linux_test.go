package nft_test

import (
	"testing"

	"github.com/dapple-drills/dapple/internal/nft"
	"github.com/dapple-drills/dapple/internal/testenv"
)

func TestWhatTheKernelCanDoIsTriedInANamespaceOfItsOwn(t *testing.T) {
	testenv.NeedRoot(t)
	f := nft.Try()
	t.Logf("%+v", f)
	if f.Cut != nil {
		t.Error(f.Cut)
	}
}

func TestAPacketGoesElsewhereAndItsAnswerComesAsIfFromWhereItWasSent(t *testing.T) {
	testenv.NeedRoot(t)
	if err := nft.TryRewrite(); err != nil {
		t.Error(err)
	}
}
