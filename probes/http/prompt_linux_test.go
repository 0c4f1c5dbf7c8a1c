package http_test

import (
	"bufio"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
)

// A server that sends the head of an answer and its body apart waits, by Nagle's
// algorithm, until the head is acknowledged.
func TestAServerThatSendsAnswersInPartsIsNotSlowedDownByUs(t *testing.T) {
	r := listen(t, func(r *raw, _ int64, c net.Conn) {
		c.(*net.TCPConn).SetNoDelay(false)
		for b := bufio.NewReader(c); r.request(b) == nil; {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			io.WriteString(c, "o")
			io.WriteString(c, "k")
		}
	})
	x, _ := at(t, r.Addr().String()).Open(t.Context(), probes.Where{})
	defer x.Close()
	var took []time.Duration
	for seq := range uint64(41) {
		began := time.Now()
		if ack := put(t, x, seq, 5*time.Second); ack.Class != probes.Acked {
			t.Fatalf("%+v", ack)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if usual := took[len(took)/2]; usual > 30*time.Millisecond {
		t.Errorf("an answer takes %v, as long as a delayed acknowledgement", usual)
	}
}
