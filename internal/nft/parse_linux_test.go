package nft

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestWhatIsEncodedIsReadBack(t *testing.T) {
	a := nest(3, text(1, "abc"), num32(2, 7), num64(4, 1<<40), raw(5, []byte{1, 2, 3}))
	if len(a)%4 != 0 {
		t.Errorf("%d bytes: not aligned", len(a))
	}
	got := map[uint16]any{}
	err := eachAttr(a, func(kind uint16, v []byte) error {
		if kind != 3 {
			t.Errorf("kind %d", kind)
		}
		return eachAttr(v, func(kind uint16, v []byte) error {
			switch kind {
			case 1:
				got[kind] = str(v)
			case 5:
				got[kind] = len(v)
			default:
				got[kind] = value(v)
			}
			return nil
		})
	})
	want := map[uint16]any{1: "abc", 2: uint64(7), 4: uint64(1) << 40, 5: 3}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestWhatIsCutShortIsAnError(t *testing.T) {
	whole := nest(1, text(2, "abcdefg"))
	nothing := func(uint16, []byte) error { return nil }
	for n := 1; n < len(whole); n++ {
		if err := eachAttr(whole[:n], nothing); !errors.Is(err, errShort) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	short := make([]byte, headSize)
	binary.NativeEndian.PutUint32(short, 1000)
	if err := eachMessage(short, func(uint16, uint32, []byte) error { return nil }); err == nil {
		t.Error("a message of 1000 bytes in 16 is read")
	}
}

func TestANameThatIsTooLongIsRefusedBeforeItIsSent(t *testing.T) {
	b := &Batch{}
	b.AddTable(Table{Inet, string(make([]byte, MaxName))})
	if b.err == nil {
		t.Error("it is encoded")
	}
}

func TestThousandsOfElementsFitIntoMessages(t *testing.T) {
	var list []Element
	for i := range 5000 {
		list = append(list, Element{Key: binary.BigEndian.AppendUint32(nil, uint32(i))})
	}
	b := &Batch{}
	b.AddElements(Table{Inet, "t"}, Set{Name: "s", Key: IPv4()}, list)
	n := 0
	for _, m := range b.messages {
		err := eachAttr(m.bytes[headSize+nfgenSize:], func(kind uint16, v []byte) error {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return eachAttr(v, func(uint16, []byte) error { n++; return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != len(list) {
		t.Errorf("%d of %d elements are in the messages", n, len(list))
	}
}

// FuzzAnswers reads what no kernel would say.
func FuzzAnswers(f *testing.F) {
	rule := append(text(unix.NFTA_RULE_TABLE, "t"), nest(unix.NFTA_RULE_EXPRESSIONS, nest(unix.NFTA_LIST_ELEM, counter()...))...)
	element := nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, Element{Key: []byte{1, 2, 3, 4}, Timeout: 5e9}.encode())
	for _, body := range [][]byte{rule, element, text(unix.NFTA_TABLE_NAME, "x"), raw(unix.NFTA_RULE_USERDATA, []byte{0, 3, 'a', 'b', 0})} {
		f.Add(encode("", 0, 0, 0, attr(body)).bytes)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = eachMessage(data, func(_ uint16, _ uint32, body []byte) error {
			body = body[min(nfgenSize, len(body)):]
			var list []ElementSeen
			_ = parseElements(body, &list)
			for _, e := range list {
				if e.Expires < 0 {
					t.Errorf("an element expired %v ago", -e.Expires)
				}
			}
			_, _, _ = parseRule(body)
			_, _ = parseTable(body)
			_, _, _ = parseChain(body)
			_ = comment(body)
			return nil
		})
	})
}
