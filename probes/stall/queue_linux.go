package stall

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// tasks lists the threads of this process (proc(5)).
const tasks = "/proc/self/task"

// A queue tells for how long the threads of this process waited for a processor. The
// kernel counts it per thread, and counts a wait when it is over (proc(5), schedstat;
// kernel/sched/stats.h, sched_info_arrive). Every file stays open: a look is one read
// per thread, and one call that tells whether there are others.
type queue struct {
	dir     *os.File
	links   uint64 // of dir: the number of threads and two (fs/proc/base.c, proc_task_getattr)
	threads map[string]*thread
	buf     [64]byte // three numbers of 64 bits at most
}

// A thread is one of this process.
type thread struct {
	f      *os.File
	waited time.Duration // in all its life, at the last look
}

// openQueue opens the queue and takes its first look: what was waited for until then
// is nobody's concern.
func openQueue() (*queue, error) {
	dir, err := os.Open(tasks)
	if err != nil {
		return nil, fmt.Errorf("list the threads of dapple: %w", err)
	}
	q := &queue{dir: dir, threads: map[string]*thread{}}
	if _, err := q.look(); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// look returns the longest that one thread waited, of all the waits that ended since
// the look before. Several short ones of a thread count together.
func (q *queue) look() (most time.Duration, err error) {
	gone := false
	for name, t := range q.threads {
		waited, err := q.read(t.f)
		if err != nil { // it has ended; what it waited for last is known to nobody
			gone = true
			_ = t.f.Close() // of a file that is read only
			delete(q.threads, name)
			continue
		}
		most = max(most, waited-t.waited)
		t.waited = waited
	}
	links, err := q.count()
	if err != nil || !gone && links == q.links {
		return most, err
	}
	q.links = links
	waited, err := q.list()
	return max(most, waited), err
}

// count is the number of links of the directory of threads.
func (q *queue) count() (uint64, error) {
	var s syscall.Stat_t
	if err := syscall.Fstat(int(q.dir.Fd()), &s); err != nil {
		return 0, fmt.Errorf("count the threads of dapple: %w", err)
	}
	return uint64(s.Nlink), nil // of 32 bits on some architectures
}

// list opens the files of threads that are new, and returns the longest that one of
// them has waited in its life, which began after the look before.
func (q *queue) list() (most time.Duration, err error) {
	if _, err := q.dir.Seek(0, 0); err != nil {
		return 0, fmt.Errorf("list the threads of dapple: %w", err)
	}
	names, err := q.dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("list the threads of dapple: %w", err)
	}
	for _, name := range names {
		if q.threads[name] != nil {
			continue
		}
		f, err := os.Open(tasks + "/" + name + "/schedstat")
		if errors.Is(err, os.ErrNotExist) {
			if _, gone := os.Stat(tasks + "/" + name); gone != nil {
				continue // it has ended meanwhile
			}
		}
		if err != nil {
			return 0, fmt.Errorf("read what a thread of dapple waited for: %w", err)
		}
		waited, err := q.read(f)
		if err != nil {
			_ = f.Close() // likewise
			continue
		}
		q.threads[name] = &thread{f, waited}
		most = max(most, waited)
	}
	return most, nil
}

// read returns the second number of a schedstat: nanoseconds on a run queue.
func (q *queue) read(f *os.File) (time.Duration, error) {
	n, err := syscall.Pread(int(f.Fd()), q.buf[:], 0)
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(q.buf[:n], []byte{' '})
	waited, _, _ := bytes.Cut(rest, []byte{' '})
	ns, err := strconv.ParseInt(string(waited), 10, 64)
	return time.Duration(ns), err
}

// Close closes all files.
func (q *queue) Close() error {
	var errs []error
	for _, t := range q.threads {
		errs = append(errs, t.f.Close())
	}
	return errors.Join(append(errs, q.dir.Close())...)
}
