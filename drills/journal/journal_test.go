package journal

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/targets"
)

func record(key string) Record {
	return Record{
		Key: key, Boot: "b", Drill: "d", System: "s", Lease: 5e9, Time: "2026-11-23T10:00:00Z",
		Agent: targets.ProcID{PID: 2, Start: 3}, Runner: targets.ProcID{PID: 4, Start: 5},
		Node:  targets.Spec{Kind: "docker", Name: "pg1", Config: json.RawMessage(`{"id":"ab"}`)},
		Fault: injectors.Fault{Kind: "kill", Node: "pg1", Does: "SIGKILL", Undo: "docker start pg1", State: json.RawMessage(`{"pid":1}`)},
	}
}

func opened(t *testing.T) *Journal {
	t.Helper()
	j, err := Open(filepath.Join(t.TempDir(), "a", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func write(t *testing.T, j *Journal, key string) (id string) {
	t.Helper()
	id, err := j.Write(record(key))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// keys returns the keys of what is outstanding.
func keys(t *testing.T, j *Journal) (keys, torn []string) {
	t.Helper()
	records, torn, err := j.Outstanding()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys, torn
}

func TestARecordComesBackAsItWasWritten(t *testing.T) {
	j := opened(t)
	want := record("k")
	want.ID, want.Schema = write(t, j, "k"), Schema
	again, err := Open(j.Dir())
	if err != nil {
		t.Fatal(err)
	}
	records, torn, err := again.Outstanding()
	if err != nil || len(torn) != 0 || len(records) != 1 {
		t.Fatalf("%d records, torn %v, %v", len(records), torn, err)
	}
	got := records[0]
	got.Node.Config, got.Fault.State = compact(t, got.Node.Config), compact(t, got.Fault.State)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOutstandingIsOldestFirstAlsoAfterSomeWereCleared(t *testing.T) {
	j := opened(t)
	a := write(t, j, "a")
	write(t, j, "b")
	c := write(t, j, "c")
	for _, id := range []string{a, c, c} { // twice is harmless
		if err := j.Clear(id); err != nil {
			t.Fatal(err)
		}
	}
	write(t, j, "d")
	if got, _ := keys(t, j); strings.Join(got, "") != "bd" {
		t.Errorf("outstanding: %v, want b, d", got)
	}
}

func TestManyProcessesCanUseOneJournal(t *testing.T) {
	j := opened(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := j.Write(record("k")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, _ := keys(t, j); len(got) != 20 {
		t.Errorf("%d records, want 20", len(got))
	}
}

// A crash may leave any prefix of a file, or its length without its content.
func TestATornRecordIsNeverTakenForAFault(t *testing.T) {
	j := opened(t)
	id := write(t, j, "k")
	whole, err := os.ReadFile(j.path(id))
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{make([]byte, len(whole))}
	for n := range whole {
		damaged = append(damaged, whole[:n])
	}
	for n := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[n] ^= 1
		damaged = append(damaged, flipped)
	}
	for _, data := range damaged {
		if err := os.WriteFile(j.path(id), data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, torn := keys(t, j)
		if len(got) != 0 || len(torn) != 1 || torn[0] != id {
			t.Fatalf("%q: records %v, torn %v", data, got, torn)
		}
	}
}

func TestUnfinishedAndForeignFilesAreNotRecords(t *testing.T) {
	j := opened(t)
	for _, name := range []string{".tmp-123", ".tmp-123.json", "README"} {
		if err := os.WriteFile(filepath.Join(j.Dir(), name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, j, "k")
	if got, torn := keys(t, j); len(got) != 1 || len(torn) != 0 {
		t.Errorf("records %v, torn %v", got, torn)
	}
}

func TestARecordOfAnotherFormatIsRefusedNotGuessed(t *testing.T) {
	j := opened(t)
	r := record("k")
	r.Schema = "dapple.journal/v9"
	data, err := seal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.Dir(), "fault-00000001-x.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Outstanding(); err == nil || !strings.Contains(err.Error(), "v9") {
		t.Errorf("error is %v", err)
	}
}

func TestClearCannotReachOutsideOfTheJournal(t *testing.T) {
	j := opened(t)
	for _, id := range []string{"", "../x", "a/b"} {
		if err := j.Clear(id); err == nil {
			t.Errorf("clearing %q is no error", id)
		}
	}
}

func TestHomeIsWhereTheEnvironmentSays(t *testing.T) {
	t.Setenv("DAPPLE_HOME", "/x/y")
	if got, err := Home(); err != nil || got != "/x/y" {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv("DAPPLE_HOME", "")
	t.Setenv("XDG_STATE_HOME", "/state")
	t.Setenv("HOME", "/home/u")
	want := "/state/dapple"
	if os.Geteuid() == 0 {
		want = systemHome
	}
	if got, err := Home(); err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	t.Setenv("XDG_STATE_HOME", "relative/is/ignored")
	if os.Geteuid() != 0 {
		want = "/home/u/.local/state/dapple"
	}
	if got, err := Home(); err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestASecondDrillOnASystemIsRefusedAndToldByWhom(t *testing.T) {
	home := t.TempDir()
	l, err := Take(home, "orders-db", "d1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Take(home, "orders-db", "d2")
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: %v, want ErrLocked", err)
	}
	for _, want := range []string{"orders-db", "d1", "pid "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
	other, err := Take(home, "orders/db", "d3")
	if err != nil {
		t.Errorf("another system: %v", err)
	} else if err := other.Release(); err != nil {
		t.Error(err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = Take(home, "orders-db", "d2")
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

func TestTheLockOfAKilledProcessIsGone(t *testing.T) {
	home := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_LOCK="+home)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has the lock
		t.Error(err)
	}
	if _, err := Take(home, "s", "d"); !errors.Is(err, ErrLocked) {
		t.Errorf("while it lives: %v, want ErrLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	l, err := Take(home, "s", "d")
	if err != nil {
		t.Fatalf("after its death: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

func TestMain(m *testing.M) {
	if home := os.Getenv("JOURNAL_TEST_LOCK"); home != "" {
		if _, err := Take(home, "s", "d"); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("x")
		<-time.After(time.Minute) // it is killed long before
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func FuzzOpen(f *testing.F) {
	whole, err := seal(record("k"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("\nsha256:"))
	f.Add([]byte("{}\nsha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := open(data)
		if err == nil && r.Schema != Schema {
			t.Errorf("took a record of format %q", r.Schema)
		}
	})
}

func compact(t *testing.T, raw json.RawMessage) json.RawMessage {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
