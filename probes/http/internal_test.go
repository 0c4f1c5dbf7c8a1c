package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/probes"
)

func read(t testing.TB, p, body string) ([]string, error) {
	t.Helper()
	x, err := parsePath(p)
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	got := []string{}
	err = x.each(strings.NewReader(body), func(s string) { got = append(got, s) })
	return got, err
}

func TestAPathFindsEveryValueThatItLeadsTo(t *testing.T) {
	const body = `{"items": [{"id": "a", "n": 1}, {"id": "b", "sub": {"id": "x", "list": ["p", ["q"], true]}}, 7, {"no": "id"}, {"id": null}, {"id": ["c"]}],
		"odd name": {"it's": "y"}, "0": "zero", "items2": [{"id": "z"}]}`
	for p, want := range map[string][]string{
		"$.items[*].id":          {"a", "b"},
		"$.items[1].sub.id":      {"x"},
		"$.items[*].sub.list[*]": {"p", "true"},
		"$.items[1].sub.list[1]": {},
		"$.items[0].*":           {"a", "1"},
		`$['odd name']["it's"]`:  {"y"},
		`$["odd name"]['it\'s']`: {"y"},
		"$['0']":                 {"zero"},
		"$[0]":                   {},
		"$.*":                    {"zero"},
		"$.items[9].id":          {},
		"$.nothing[*]":           {},
		"$":                      {},
	} {
		got, err := read(t, p, body)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", p, err, d)
		}
	}
	if got, err := read(t, "$", ` "one" `); err != nil || len(got) != 1 || got[0] != "one" {
		t.Errorf("$ of a text: %q, %v", got, err)
	}
}

func TestAnAnswerThatIsNotWholeIsAnErrorWhereverItBreaksOff(t *testing.T) {
	const body = `{"other": {"deep": [1, {"a": "b"}]}, "items": [{"id": "a"}, {"id": "b"}], "end": 1}`
	for i := range len(body) {
		if _, err := read(t, "$.items[*].id", body[:i]); err == nil {
			t.Errorf("%q is taken for whole", body[:i])
		}
	}
	if _, err := read(t, "$.items[*].id", body+" {}"); err == nil {
		t.Error("what follows the answer is not noticed")
	}
}

// endless is an answer that never ends, of which only a little may be kept.
type endless struct{ left int }

func (e *endless) Read(b []byte) (int, error) {
	if e.left -= len(b); e.left < 0 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestALineThatIsNoneOfOursCostsNoMemory(t *testing.T) {
	var got []string
	r := io.MultiReader(strings.NewReader("a\r\n  b  \n"), &endless{left: 50 << 20}, strings.NewReader("\nc"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := lines(r, func(s string) { got = append(got, s) })
	if d := cmp.Diff([]string{"a", "b", "c"}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes were allocated for lines of 50 MiB", took)
	}
}

func TestALargeListIsDigestedInTheMemoryOfItsChunks(t *testing.T) {
	const n = 200_000
	r, w := io.Pipe()
	go func() {
		for i := range n {
			fmt.Fprintf(w, "%s\n", idOf("run_1", 3, uint64(i)))
			fmt.Fprintf(w, "somebody else's %d\n", i)
		}
		w.Close()
	}()
	d := digesting{}
	err := lines(r, func(id string) {
		if client, seq, ok := parseID("run_1", id); ok {
			d.add(client, seq)
		}
	})
	if err != nil || len(d) != n>>probes.ChunkBits+1 {
		t.Fatalf("%d chunks, %v", len(d), err)
	}
	var count uint64
	for _, x := range d {
		count += x.Count
	}
	if count != n {
		t.Errorf("%d ids were counted of %d", count, n)
	}
}

func TestAnIDIsReadBackAsItWasMadeAndNothingElseIsOne(t *testing.T) {
	client, seq, ok := parseID("01k_2", idOf("01k_2", 12, 1<<63))
	if !ok || client != 12 || seq != 1<<63 {
		t.Error(client, seq, ok)
	}
	for _, no := range []string{"", "01k_2", "01k_2-", "01k_2-1", "01k_2-1-", "01k_2-01-1", "01k_2-1-+1", "01k_2--1-1", "01k_2-1-1-1", "01k_1-1-1", "01k_2-1-18446744073709551616", "x01k_2-1-1"} {
		if _, _, ok := parseID("01k_2", no); ok {
			t.Errorf("%q is taken for an id", no)
		}
	}
}

func FuzzAPathReadsJSONAsADecoderOfTheWholeDoes(f *testing.F) {
	for _, s := range [][2]string{
		{"$.items[*].id", `{"items":[{"id":"a"},{"id":1.50},{"id":[true]}]}`}, {"$[*]['a']", `[{"a":"x"},{"b":{}}]`},
		{"$", `"x"`}, {"$.*.*", `{"a":{"b":"c"},"d":["e",{}]}`}, {`$["\""][2]`, `{"\"":[1,2,3]}`}, {"$..a", "{}"}, {"$[", "["},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		p, err := parsePath(text)
		if err != nil {
			return
		}
		got := []string{}
		err = p.each(strings.NewReader(body), func(s string) { got = append(got, s) })
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var v any
		werr := d.Decode(&v)
		if _, end := d.Token(); werr == nil && !errors.Is(end, io.EOF) {
			werr = errors.New("something follows")
		}
		if (err == nil) != (werr == nil) {
			t.Fatalf("%q of %q: %v, and the decoder says %v", text, body, err, werr)
		}
		if err != nil || repeats(body) {
			return
		}
		want := []string{}
		follow(v, p, &want)
		slices.Sort(got) // a map has no order
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q of %q: %s", text, body, d)
		}
	})
}

// repeats says whether a name may stand twice in an object: then a decoder of the
// whole keeps the last, and a reader sees both.
func repeats(body string) bool {
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	seen := map[string]bool{}
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := t.(string); ok {
			if seen[s] {
				return true
			}
			seen[s] = true
		}
	}
}

func follow(v any, p path, out *[]string) {
	if len(p) == 0 {
		if s, ok := scalar(v); ok {
			*out = append(*out, s)
		}
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if p[0].any || p[0].index < 0 && p[0].name == k {
				follow(x, p[1:], out)
			}
		}
	case []any:
		for i, x := range v {
			if p[0].any || p[0].index == i {
				follow(x, p[1:], out)
			}
		}
	}
}

func FuzzATemplateThatIsAcceptedIsWrittenOutSoon(f *testing.F) {
	for _, s := range []string{"/a", "{{.ID}}", "{{if .Node}}{{.Node | urlquery}}{{else}}{{.Seq}}{{end}}", `{{printf "%08d" .Seq}}`, "{{$x := .ID}}{{$x}}", "{{range 9}}{{end}}", "{{define \"a\"}}{{.X}}{{end}}", "{{.ID.x}}", "{{(.ID)}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		x, err := newText(source, ofWrite)
		if err != nil {
			return
		}
		began := time.Now()
		out, err := x.render(sample)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q took %v", source, took)
		}
		again, err2 := x.render(sample)
		if out != again || (err == nil) != (err2 == nil) {
			t.Errorf("%q is written out as %q and as %q", source, out, again)
		}
	})
}

func FuzzAnIDIsReadAsItIsWritten(f *testing.F) {
	f.Add("r-1-2")
	f.Add("r-01-2")
	f.Fuzz(func(t *testing.T, id string) {
		client, seq, ok := parseID("r", id)
		if ok && idOf("r", client, seq) != id {
			t.Errorf("%q is read as %d and %d", id, client, seq)
		}
		if _, err := strconv.Atoi(id); err == nil && ok {
			t.Errorf("%q is an id", id)
		}
	})
}

func TestMarksAreWritesThatWereAcknowledgedLongEnoughAgo(t *testing.T) {
	var m marks
	t0 := time.Now()
	if _, ok := m.before(t0); ok {
		t.Error("there is a mark before any write")
	}
	for i := range 1000 {
		m.note(probes.Write{Seq: uint64(i)}, t0.Add(time.Duration(i)*10*time.Millisecond))
	}
	w, ok := m.before(t0.Add(9990*time.Millisecond - settled))
	if !ok || w.Seq > 899 || w.Seq < 880 || len(m.kept) > 20 {
		t.Errorf("write %d, %v, %d kept; want one of about 10 s − 1 s", w.Seq, ok, len(m.kept))
	}
}
