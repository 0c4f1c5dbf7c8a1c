package process

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"syscall"
)

// A line is a connection on which descriptors may come beside the words (unix(7),
// SCM_RIGHTS).
type line struct {
	conn *net.UnixConn
	got  []int
}

// most is how many descriptors come with one message.
const most = 3

// Read reads words, and keeps the descriptors that come with them.
func (l *line) Read(b []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4*most))
	n, rights, _, _, err := l.conn.ReadMsgUnix(b, oob)
	n = max(n, 0) // -1 with an error, which an io.Reader does not say
	if rights <= 0 {
		return n, err
	}
	msgs, perr := syscall.ParseSocketControlMessage(oob[:rights])
	for i := range msgs {
		fds, rerr := syscall.ParseUnixRights(&msgs[i])
		l.got, perr = append(l.got, fds...), errors.Join(perr, rerr)
	}
	return n, errors.Join(err, perr)
}

// send sends one value, with descriptors.
func (l *line) send(v any, fds ...int) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	_, _, err = l.conn.WriteMsgUnix(append(data, '\n'), rights, nil)
	return err
}

// take gives away what came.
func (l *line) take() []int {
	fds := l.got
	l.got = nil
	return fds
}

// drop closes what came and nobody took.
func (l *line) drop() {
	for _, fd := range l.take() {
		_ = syscall.Close(fd) // nobody waits for it
	}
}

// takeFiles gives away what came, as files.
func (l *line) takeFiles() (files []*os.File) {
	for _, fd := range l.take() {
		files = append(files, os.NewFile(uintptr(fd), "handed over"))
	}
	return files
}
