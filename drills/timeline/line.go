package timeline

import (
	"encoding/json"
	"math"
	"strconv"
)

// appendLine appends what e.MarshalJSON gives, and the end of a line, to buf. An event
// is written for each run of each stream, so it takes no reflection; what is unusual in
// it goes the way of encoding/json.
func appendLine(buf []byte, e Event) ([]byte, error) {
	buf = strconv.AppendInt(append(buf, `{"i":`...), int64(e.I), 10)
	buf, err := appendMS(append(buf, `,"lo_ms":`...), MS(e.At.Lo))
	if err == nil {
		buf, err = appendMS(append(buf, `,"hi_ms":`...), MS(e.At.Hi))
	}
	if e.Trial != 0 {
		buf = strconv.AppendInt(append(buf, `,"trial":`...), int64(e.Trial), 10)
	}
	buf = appendString(append(buf, `,"kind":`...), string(e.Kind))
	if e.Node != "" {
		buf = appendString(append(buf, `,"node":`...), e.Node)
	}
	buf = appendString(append(buf, `,"by":`...), e.By)
	if e.Value != "" {
		buf = appendString(append(buf, `,"value":`...), e.Value)
	}
	if e.Evidence != "" {
		buf = appendString(append(buf, `,"evidence":`...), e.Evidence)
	}
	if e.Epoch != "" {
		buf = appendString(append(buf, `,"epoch":`...), e.Epoch)
	}
	if e.N != 0 {
		buf = strconv.AppendInt(append(buf, `,"n":`...), e.N, 10)
	}
	if err == nil && len(e.Data) > 0 {
		buf, err = appendData(append(buf, `,"data":`...), e.Data)
	}
	return append(buf, "}\n"...), err
}

// appendMS appends a number as encoding/json does: without an exponent, but for what is
// below a nanosecond or above all times.
func appendMS(buf []byte, ms float64) ([]byte, error) {
	if a := math.Abs(ms); a == 0 || a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(buf, ms, 'f', -1, 64), nil
	}
	return appendJSON(buf, ms)
}

func appendString(buf []byte, s string) []byte {
	for i := range len(s) {
		if !plain(s[i]) {
			buf, err := appendJSON(buf, s)
			if err != nil {
				panic("dapple: internal error: a string has no JSON: " + err.Error())
			}
			return buf
		}
	}
	return append(append(append(buf, '"'), s...), '"')
}

// plain says whether encoding/json writes a byte of a string as it is.
func plain(c byte) bool {
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// appendData appends JSON as encoding/json does: without white space, and safe for HTML.
func appendData(buf []byte, data json.RawMessage) ([]byte, error) {
	for _, c := range data {
		if c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			return appendJSON(buf, data)
		}
	}
	if !json.Valid(data) {
		return appendJSON(buf, data) // it says what is wrong
	}
	return append(buf, data...), nil
}

func appendJSON(buf []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(buf, text...), err
}
