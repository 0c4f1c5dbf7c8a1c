package notices

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// mailServer takes one message by SMTP (RFC 5321), and says what it was sent.
func mailServer(t *testing.T) (address string, said <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have done so
	lines := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }() // it may be closed by the client first
		var all strings.Builder
		fmt.Fprint(c, "220 here\r\n")
		data := false
		for in := bufio.NewScanner(c); in.Scan(); {
			line := in.Text()
			all.WriteString(line + "\n")
			switch {
			case data && line == ".":
				data = false
				fmt.Fprint(c, "250 taken\r\n")
			case data:
			case line == "DATA":
				data = true
				fmt.Fprint(c, "354 go on\r\n")
			case line == "QUIT":
				fmt.Fprint(c, "221 bye\r\n")
				lines <- all.String()
				return
			default:
				fmt.Fprint(c, "250 well\r\n")
			}
		}
	}()
	return l.Addr().String(), lines
}

func TestTheOwnerGetsAnEMail(t *testing.T) {
	address, said := mailServer(t)
	r, err := Mail{Server: address, From: "dapple@example.org", To: "team@example.org"}.Receiver()
	if err != nil {
		t.Fatal(err)
	}
	if f := send(t, r, notice); len(f.errs) > 0 {
		t.Fatal(f.errs)
	}
	got := <-said
	for _, want := range []string{
		"MAIL FROM:<dapple@example.org>", "RCPT TO:<dba@example.org>", "RCPT TO:<team@example.org>",
		"Subject: dapple: weekly: done", "due 2026-11-26T02:30: done",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestAnOwnerWhoIsNoAddressGetsNoEMail(t *testing.T) {
	r, err := Mail{Server: "127.0.0.1:1", From: "dapple@example.org"}.Receiver()
	if err != nil {
		t.Fatal(err)
	}
	n := notice
	n.Owner = "the platform team"
	if f := send(t, r, n); len(f.errs) > 0 {
		t.Error(f.errs)
	}
	if _, err := (Mail{Server: "mail.example.org"}).Receiver(); err == nil {
		t.Error("a server without a port is taken")
	}
}

// A password goes only over TLS, which this server has not got.
func TestAPasswordIsNotSentInTheClear(t *testing.T) {
	address, _ := mailServer(t)
	r, err := Mail{Server: address, From: "dapple@example.org", User: "u", Password: "hunter2"}.Receiver()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Other(t.Context(), notice); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}
