package notices

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
)

// Mail is how e-mail is sent.
type Mail struct {
	Server         string // host:port
	From           string
	To             string // besides the owner, if that is an address
	User, Password string // "": without; with one, only over TLS
}

// Receiver sends each notice as one e-mail to the owner of the schedule, if that is
// an address, and to To.
func (m Mail) Receiver() (Receiver, error) {
	host, port, err := net.SplitHostPort(m.Server)
	number, nerr := strconv.Atoi(port)
	if err := errors.Join(err, nerr); err != nil {
		return Receiver{}, fmt.Errorf("the mail server %q: want host:port: %w", m.Server, err)
	}
	options := []mail.Option{mail.WithPort(number), mail.WithTimeout(answer), mail.WithTLSPolicy(mail.TLSOpportunistic)}
	if m.User != "" {
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory), mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover),
			mail.WithUsername(m.User), mail.WithPassword(m.Password))
	}
	return Receiver{Name: "mail", Other: func(ctx context.Context, n Notice) error {
		msg, err := m.message(n)
		if err != nil || msg == nil {
			return err
		}
		c, err := mail.NewClient(host, options...)
		if err != nil {
			return err
		}
		return c.DialAndSendWithContext(ctx, msg)
	}}, nil
}

// message is nil if nobody is to get it.
func (m Mail) message(n Notice) (*mail.Msg, error) {
	var to []string
	for _, address := range []string{n.Owner, m.To} {
		if strings.Contains(address, "@") {
			to = append(to, address)
		}
	}
	if len(to) == 0 {
		return nil, nil
	}
	msg := mail.NewMsg()
	if err := errors.Join(msg.From(m.From), msg.To(to...)); err != nil {
		return nil, err
	}
	msg.Subject(fmt.Sprintf("dapple: %s: %s", n.Schedule, n.State))
	msg.SetBodyString(mail.TypeTextPlain, n.Text()+"\n")
	return msg, nil
}
