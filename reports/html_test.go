package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/verdict"
	"golang.org/x/net/html"
)

func page1(t testing.TB, r Run) string {
	return render(t, func(b *bytes.Buffer) error { return HTML(b, r) })
}

func parse(t testing.TB, text string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			out = append(out, n)
		}
	}
	return out
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func TestEveryLinkToAnEventHasItsAnchorAndNoAnchorIsThereTwice(t *testing.T) {
	for name, fixture := range fixtures() {
		ids, links := map[string]int{}, map[string]bool{}
		for _, n := range parse(t, page1(t, fixture(t))) {
			if id, ok := attr(n, "id"); ok {
				ids[id]++
			}
			if h, ok := attr(n, "href"); ok {
				links[h] = true
			}
		}
		events := 0
		for h := range links {
			if !strings.HasPrefix(h, "#") || ids[h[1:]] == 0 {
				t.Errorf("%s: the link %q leads nowhere", name, h)
			}
			if strings.HasPrefix(h, "#e") {
				events++
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: the anchor %q is there %d times", name, id, n)
			}
		}
		if events < 10 {
			t.Errorf("%s: only %d events are linked", name, events)
		}
	}
}

func TestThePageLoadsNothing(t *testing.T) {
	for name, r := range map[string]Run{"patroni": patroniKill(t), "hostile": hostile(t)} {
		text := page1(t, r)
		for _, n := range parse(t, text) {
			switch n.Data {
			case "link", "img", "iframe", "object", "embed", "audio", "video", "base", "form", "image", "use":
				t.Errorf("%s: there is a <%s>", name, n.Data)
			}
			for _, a := range n.Attr {
				if a.Key == "src" || a.Key == "srcset" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
				}
				if a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
					t.Errorf("%s: a link to %q", name, a.Val)
				}
			}
			if n.Data == "style" && n.FirstChild != nil && regexp.MustCompile(`@import|url\([^#]`).MatchString(n.FirstChild.Data) {
				t.Errorf("%s: the style sheet loads something", name)
			}
		}
	}
}

func TestNamesAreTextAndNeverMarkup(t *testing.T) {
	clean, bad := map[string]int{}, map[string]int{}
	for _, n := range parse(t, page1(t, splitBrain(t))) {
		clean[n.Data]++
	}
	for _, n := range parse(t, page1(t, hostile(t))) {
		bad[n.Data]++
		if n.Data == "script" && n.FirstChild != nil && strings.Contains(n.FirstChild.Data, "alert") {
			t.Error("a name became a script")
		}
	}
	for _, tag := range []string{"script", "style", "img", "html", "body"} {
		if bad[tag] != clean[tag] {
			t.Errorf("%d <%s> with hostile names, %d without", bad[tag], tag, clean[tag])
		}
	}
}

func TestThePageSaysTheVerdictFirst(t *testing.T) {
	for name, want := range map[string]string{"patroni": "PASS", "split-brain": "FAIL", "inconclusive": "INCONCLUSIVE", "invalid": "PASS"} {
		for _, n := range parse(t, page1(t, fixtures()[name](t))) {
			if n.Data == "h1" {
				var b strings.Builder
				for d := range n.Descendants() {
					if d.Type == html.TextNode {
						b.WriteString(d.Data)
					}
				}
				if b.String() != want {
					t.Errorf("%s: the heading is %q, want %q", name, b.String(), want)
				}
				break
			}
		}
	}
}

func TestPicturesAndTablesSayWhatTheyAre(t *testing.T) {
	for _, n := range parse(t, page1(t, splitBrain(t))) {
		hidden, _ := attr(n, "aria-hidden")
		if n.Data == "svg" && hidden != "true" {
			if l, _ := attr(n, "aria-label"); l == "" {
				t.Error("a picture has no label")
			}
		}
		if n.Data == "table" {
			if c := n.FirstChild; c == nil || c.Data != "caption" {
				t.Error("a table has no caption")
			}
		}
	}
}

func TestOneTrialIsOpenAndItIsTheOneThatWeighsMost(t *testing.T) {
	var open []string
	for _, n := range parse(t, page1(t, patroniInvalid(t))) {
		if c, _ := attr(n, "class"); n.Data == "details" && c == "trial" {
			if _, ok := attr(n, "open"); ok {
				id, _ := attr(n, "id")
				open = append(open, id)
			}
		}
	}
	if fmt.Sprint(open) != "[t4]" {
		t.Errorf("open: %v, want the invalid trial t4", open)
	}
}

func TestARecordWithNothingInItStillMakesEveryReport(t *testing.T) {
	for name, r := range map[string]Run{"empty": {}, "one trial": {}} {
		if name == "one trial" {
			r.Record.Trials = []verdict.Trial{{}}
		}
		for _, f := range Formats() {
			if got := render(t, func(b *bytes.Buffer) error { return f.Write(b, r) }); got == "" {
				t.Errorf("%s: %s is empty", name, f.Name)
			}
		}
	}
}

// crowd is a drill whose timeline has n events: what a long, flapping trial with
// many clients leaves.
func crowd(tb testing.TB, n int) Run {
	r := patroniKill(tb)
	r.Record.Trials = r.Record.Trials[:1]
	rng := rand.New(rand.NewPCG(1, 2))
	var es timeline.Timeline
	for _, e := range r.Timeline {
		if e.Trial == 1 {
			es = append(es, e)
		}
	}
	span := int64(100 * time.Second)
	values := []string{"acked", "failed", "unknown", "acked-degraded"}
	for i := es[len(es)-1].I + 1; len(es) < n; i++ {
		lo := time.Duration(rng.Int64N(span))
		e := timeline.Event{I: i, Trial: 1, At: timeline.Interval{Lo: lo, Hi: lo + time.Millisecond}, Kind: timeline.Write,
			By: fmt.Sprintf("app/%d", i%4), Value: values[rng.IntN(4)], Evidence: "57P01 terminating connection", N: 1}
		switch i % 10 {
		case 0:
			e.Kind, e.By, e.Node, e.Value = timeline.Role, "role/pg1", "pg1", []string{"primary", "replica", "unreachable"}[rng.IntN(3)]
		case 1:
			e.By = "direct/pg2"
		case 2:
			e.By = "fresh"
		}
		es = append(es, e)
	}
	r.Timeline = es
	return r
}

func TestAPageOfManyEventsStaysSmallAndSaysWhereTheRestIs(t *testing.T) {
	text := page1(t, crowd(t, 100_000))
	if len(text) > 4<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
	nodes := parse(t, text)
	if len(nodes) > 60_000 {
		t.Errorf("the page has %d elements", len(nodes))
	}
	rows := 0
	for _, n := range nodes {
		if id, _ := attr(n, "id"); n.Data == "tr" && strings.HasPrefix(id, "e") {
			rows++
		}
	}
	if rows > maxRows {
		t.Errorf("%d rows of events", rows)
	}
	if want := fmt.Sprintf("Events: %d shown, %d more in timeline.jsonl", rows, 100_000-rows); !strings.Contains(text, want) {
		t.Errorf("the page does not say %q", want)
	}
}

// BenchmarkHTML100k renders the page of a record of 100,000 events, and tells
// how that compares with only encoding the same run as JSON.
func BenchmarkHTML100k(b *testing.B) {
	r := crowd(b, 100_000)
	var buf bytes.Buffer
	for b.Loop() {
		buf.Reset()
		if err := HTML(&buf, r); err != nil {
			b.Fatal(err)
		}
	}
	per := b.Elapsed() / time.Duration(b.N)
	begin := time.Now()
	if _, err := json.Marshal(r.Record); err != nil {
		b.Fatal(err)
	}
	for _, e := range r.Timeline {
		if _, err := json.Marshal(e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(per)/float64(time.Since(begin)), "×json")
	b.ReportMetric(float64(buf.Len())/1e6, "MB")
}
