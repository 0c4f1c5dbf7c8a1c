package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dapple-drills/dapple/internal/kernel"
	"github.com/dapple-drills/dapple/targets"
)

// A Running is a program that a keeper is to run for somebody.
type Running struct {
	Member                string // where it lives; "" is where the keeper does
	Argv                  []string
	Env                   []string // added to the keeper's
	Stdin, Stdout, Stderr *os.File // handed over: nothing is relayed
}

// Run has the keeper at socket run a program, and returns its exit code. When ctx
// ends or this process dies, the program is killed, with what it started.
func Run(ctx context.Context, socket string, r Running) (code int, err error) {
	a, err := ask(ctx, socket, request{
		Do: "run", Name: r.Member, Argv: r.Argv, Env: r.Env, files: []*os.File{r.Stdin, r.Stdout, r.Stderr},
	})
	return a.Code, err
}

// Exec runs argv where the member lives and returns its standard output. An exit
// code other than 0 is an error with what it wrote to stderr.
func Exec(ctx context.Context, socket, member string, argv ...string) ([]byte, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	var out, said bytes.Buffer
	var reading sync.WaitGroup
	r := Running{Member: member, Argv: argv, Stdin: null}
	for _, p := range []struct {
		to   *bytes.Buffer
		file **os.File
	}{{&out, &r.Stdout}, {&said, &r.Stderr}} {
		from, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer w.Close()
		reading.Go(func() {
			_, _ = io.Copy(p.to, from) // what was lost shows in what was read
			_ = from.Close()
		})
		*p.file = w
	}
	code, err := Run(ctx, socket, r)
	// Ours; a child that the program left behind may hold its own.
	_, _ = r.Stdout.Close(), r.Stderr.Close()
	reading.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), err
}

// Socket has the keeper at socket make a TCP socket where the member lives, which
// is not connected; "" is where the clients live. The descriptor is the caller's.
func Socket(ctx context.Context, socket, member string, v6 bool) (fd int, err error) {
	r, err := ask(ctx, socket, request{Do: "socket", Name: member, V6: v6})
	if err != nil {
		return -1, err
	}
	if len(r.files) != 1 {
		return -1, fmt.Errorf("the keeper at %s sent %d sockets, want 1", socket, len(r.files))
	}
	return r.files[0], nil
}

// handSocket is Socket on the keeper's side.
func (k *keeper) handSocket(conn *net.UnixConn, q request) error {
	l := line{conn: conn}
	if k.house.Socket == nil {
		return l.send(reply{Error: "members of this keeper live on the machine itself: dial from there"})
	}
	fd, err := k.house.Socket(k.ctx, q.Name, q.V6)
	if err != nil {
		return l.send(replyTo(targets.State{}, err))
	}
	defer syscall.Close(fd) // the message has its copy
	return l.send(reply{}, fd)
}

// runs are the programs that run for others.
type runs struct {
	all  sync.WaitGroup
	mu   sync.Mutex
	over chan struct{} // closed when they are to be killed
}

// ending is how long a program that runs for somebody may go on when the cluster
// ends: an agent still takes its faults back, and clears its journal.
const ending = 5 * time.Second

func (r *runs) killed() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		r.over = make(chan struct{})
	}
	return r.over
}

// end waits until all have ended, and kills those that do not.
func (r *runs) end() {
	ended := make(chan struct{})
	go func() {
		r.all.Wait()
		close(ended)
	}()
	t := time.NewTimer(ending)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		close(r.killed())
		<-ended
	}
}

// run runs a program until it ends or the one who asked hangs up.
func (k *keeper) run(q request, in *line) reply {
	files := in.takeFiles()
	defer func() {
		for _, f := range files {
			_ = f.Close() // the program has its own
		}
	}()
	if len(q.Argv) == 0 || len(files) != most {
		return reply{Error: fmt.Sprintf("run: %d words and %d descriptors: want a program, stdin, stdout and stderr", len(q.Argv), len(files))}
	}
	if k.members[q.Name] == nil && q.Name != "" {
		return replyTo(targets.State{}, fmt.Errorf("the keeper has no member %q: %w", q.Name, targets.ErrGone))
	}
	cmd := exec.Command(q.Argv[0], q.Argv[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = k.dir, append(os.Environ(), q.Env...), memberAttr()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	id, err := k.begin(q.Name, cmd)
	if err != nil {
		return replyTo(targets.State{}, err)
	}
	defer k.runs.all.Done()
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		_ = in.conn.SetReadDeadline(time.Time{}) // fails if the connection is over, as the read then does
		_, _ = io.Copy(io.Discard, in.conn)
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is told by its state
	}()
	select {
	case <-ended:
		return reply{Code: cmd.ProcessState.ExitCode()}
	case <-hungUp:
	case <-k.runs.killed():
	}
	_ = cmd.Process.Kill() // it may just have ended
	<-ended
	return replyTo(targets.State{}, errors.Join(errors.New("killed, for nobody waits for it"), killSession(k.ctx, id)))
}

// begin starts the program, unless the cluster is ending.
func (k *keeper) begin(member string, cmd *exec.Cmd) (id targets.ProcID, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return id, fmt.Errorf("the cluster is being shut down: %w", targets.ErrGone)
	}
	if err := k.house.Start(member, cmd); err != nil {
		return id, fmt.Errorf("starting %s: %w", cmd.Args[0], err)
	}
	k.runs.all.Add(1)
	id, err = kernel.Identity(cmd.Process.Pid) // not yet waited for, so it is there
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		k.runs.all.Done()
	}
	return id, err
}
