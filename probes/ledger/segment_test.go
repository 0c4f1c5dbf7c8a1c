package ledger

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// segment writes outcomes into frames of at most per outcomes.
func segment(all []outcome, per int) []byte {
	file := []byte(magic)
	for len(all) > 0 {
		var f frame
		n := min(per, len(all))
		for _, o := range all[:n] {
			f.add(o)
		}
		file, all = append(file, wrap(f.buf)...), all[n:]
	}
	return file
}

func read(t *testing.T, file []byte) (all []outcome, torn int64) {
	t.Helper()
	torn, err := readSegment(bytes.NewReader(file), func(o outcome) bool {
		all = append(all, o)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, torn
}

func random(r *rand.Rand, n int) (all []outcome) {
	var clock int64
	for i := range n {
		clock += r.Int64N(1 << r.IntN(40))
		sent := clock - r.Int64N(1<<r.IntN(30))
		o := outcome{seq: uint64(i), class: class(r.IntN(int(classes))), sent: sent, back: sent + r.Int64N(1<<r.IntN(40))}
		if r.IntN(3) > 0 {
			o.who = taker{[]string{"", "pg1", "pg2"}[r.IntN(3)], []string{"", "1", "2"}[r.IntN(3)], []string{"", "INSERT 0 1", "25006"}[r.IntN(3)]}
		}
		all = append(all, o)
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

var exact = cmp.AllowUnexported(outcome{}, taker{})

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		want := random(r, r.IntN(200))
		got, torn := read(t, segment(want, 1+r.IntN(50)))
		if d := cmp.Diff(want, got, exact); d != "" || torn != 0 {
			t.Fatalf("seed %d: %d bytes left out; (-want +got)\n%s", seed, torn, d)
		}
	}
}

func TestATornTailLosesItsFrameAndNothingElse(t *testing.T) {
	want := random(rand.New(rand.NewPCG(1, 1)), 60)
	file := segment(want, 20)
	whole := map[int]int{} // length of the file after n frames
	for n := 0; n <= 3; n++ {
		whole[len(segment(want[:20*n], 20))] = 20 * n
	}
	kept := 0
	for end := range len(file) + 1 {
		got, torn := read(t, file[:end])
		if n, ok := whole[end]; ok {
			kept = n
			if torn != 0 {
				t.Fatalf("cut after frame %d: %d bytes left out", n/20, torn)
			}
		} else if torn == 0 && end > 0 {
			t.Fatalf("cut at byte %d: no byte left out", end)
		}
		if d := cmp.Diff(want[:kept], got[:len(got):len(got)], exact); d != "" && kept+len(got) > 0 {
			t.Fatalf("cut at byte %d (-want +got)\n%s", end, d)
		}
	}
}

func TestADamagedFrameIsLeftOutWithWhatFollows(t *testing.T) {
	want := random(rand.New(rand.NewPCG(2, 2)), 40)
	file := segment(want, 20)
	first := len(segment(want[:20], 20))
	for at := first; at < len(file); at++ {
		bad := bytes.Clone(file)
		bad[at] ^= 0x40
		got, torn := read(t, bad)
		if len(got) != 20 || torn == 0 {
			t.Fatalf("byte %d damaged: %d outcomes read and %d bytes left out; want the first 20 and the rest left out", at, len(got), torn)
		}
	}
	zeros := append(bytes.Clone(file), make([]byte, 100)...) // as after a power cut
	if got, torn := read(t, zeros); len(got) != 40 || torn != 100 {
		t.Errorf("zeros at the end: %d outcomes, %d bytes left out", len(got), torn)
	}
}

func TestAForeignFileIsNoSegment(t *testing.T) {
	_, err := readSegment(strings.NewReader("a log of something else"), nil)
	if err == nil || !strings.Contains(err.Error(), "no ledger segment") {
		t.Errorf("got %v", err)
	}
	_, err = readSegment(bytes.NewReader(append([]byte(magic), wrap([]byte{0x80})...)), nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a whole frame of nonsense: %v", err)
	}
}

func TestRoundingKeepsTheTruthInTheInterval(t *testing.T) {
	base := time.Now()
	r := rand.New(rand.NewPCG(3, 3))
	for range 10_000 {
		sent := time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour
		back := sent + time.Duration(r.Int64N(int64(time.Second)))
		lo, hi := at(base, base.Add(sent), base.Add(back))
		if l := time.Duration(lo) * time.Microsecond; l > sent || sent-l >= time.Microsecond {
			t.Fatalf("sent %v became %v", sent, l)
		}
		if h := time.Duration(hi) * time.Microsecond; h < back || h-back >= time.Microsecond {
			t.Fatalf("returned %v became %v", back, h)
		}
	}
}

func TestADenseRunOfAcksCostsSixBytesEach(t *testing.T) {
	var f frame
	for i := range 10_000 {
		sent := int64(i) * 400
		f.add(outcome{seq: uint64(i), sent: sent, back: sent + 380, who: taker{"pg1", "1", "INSERT 0 1"}})
	}
	if per := float64(len(f.buf)) / 10_000; per > 6 {
		t.Errorf("%.1f bytes per ack", per)
	}
}

// FuzzReadSegment: no input makes the reader panic, or take memory for what is
// not there; and what it reads can be written and read again.
func FuzzReadSegment(f *testing.F) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{0, 1, 30} {
		f.Add(segment(random(r, n), 7))
	}
	file := segment(random(r, 20), 20)
	f.Add(file[:len(file)-3])
	huge := append([]byte(magic), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(huge[len(magic):], frameMax)
	f.Add(huge)
	f.Add(append([]byte(magic), wrap([]byte{1, 0xff, 0xff, 0x7f, 0, 0})...))
	f.Fuzz(func(t *testing.T, file []byte) {
		var all []outcome
		see := func(o outcome) bool {
			all = append(all, o)
			return true
		}
		if _, err := readSegment(bytes.NewReader(file), see); err != nil {
			return
		}
		want := all
		all = nil
		if torn, err := readSegment(bytes.NewReader(segment(want, 5)), see); err != nil || torn != 0 {
			t.Fatalf("what was read cannot be written and read again: %v, %d bytes left out", err, torn)
		}
		if d := cmp.Diff(want, all, exact); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
	})
}

// FuzzDecode reaches the records behind the checksum.
func FuzzDecode(f *testing.F) {
	var fr frame
	for _, o := range random(rand.New(rand.NewPCG(5, 5)), 30) {
		fr.add(o)
	}
	f.Add(fr.buf)
	f.Fuzz(func(t *testing.T, payload []byte) {
		n := 0
		_, err := decode(payload, func(o outcome) bool {
			n++
			if o.back < o.sent {
				t.Fatalf("%+v was answered before it was sent", o)
			}
			return true
		})
		if err == nil && n > len(payload) {
			t.Fatalf("%d outcomes from %d bytes", n, len(payload))
		}
	})
}
