package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxAttr is the longest that an attribute can be: its length has 16 bits
// (netlink(7), struct nlattr).
const maxAttr = 1<<16 - 1

// attrHead is the size of struct nlattr.
const attrHead = 4

// An attr is one encoded attribute, padded.
type attr []byte

func raw(kind uint16, data []byte) attr {
	n := attrHead + len(data)
	b := make([]byte, pad(n))
	binary.NativeEndian.PutUint16(b, uint16(min(n, maxAttr)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[attrHead:], data)
	return b
}

func nest(kind uint16, inner ...attr) attr {
	var data []byte
	for _, a := range inner {
		data = append(data, a...)
	}
	return raw(kind|unix.NLA_F_NESTED, data)
}

func text(kind uint16, s string) attr  { return raw(kind, append([]byte(s), 0)) }
func num32(kind uint16, v uint32) attr { return raw(kind, binary.BigEndian.AppendUint32(nil, v)) }
func num64(kind uint16, v uint64) attr { return raw(kind, binary.BigEndian.AppendUint64(nil, v)) }

// pad rounds up to the alignment of netlink, 4.
func pad(n int) int { return (n + 3) &^ 3 }

var errShort = errors.New("a netlink message ends within an attribute")

// eachAttr calls visit for every attribute in data, with the flags taken off its
// kind. What comes from the kernel is not trusted to be whole.
func eachAttr(data []byte, visit func(kind uint16, value []byte) error) error {
	for len(data) > 0 {
		if len(data) < attrHead {
			return errShort
		}
		n := int(binary.NativeEndian.Uint16(data))
		if n < attrHead || n > len(data) {
			return fmt.Errorf("%w: it says that it has %d bytes, there are %d", errShort, n, len(data))
		}
		kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if err := visit(kind, data[attrHead:n]); err != nil {
			return err
		}
		data = data[min(pad(n), len(data)):]
	}
	return nil
}

// value reads an unsigned number of network byte order, of any length up to 8.
func value(b []byte) uint64 {
	var v uint64
	for _, x := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(x)
	}
	return v
}

// str reads a string that ends with a zero byte, or with the attribute.
func str(b []byte) string {
	for i, x := range b {
		if x == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
