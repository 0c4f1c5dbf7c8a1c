package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

// role asks for a role with a deadline that a busy machine keeps.
func role(t testing.TB, s *postgres.System, n *postgrestest.Server) probes.Claim {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return s.Role(ctx, n)
}

func wantRole(t *testing.T, got probes.Claim, want probes.Role, epoch string) {
	t.Helper()
	if got.Role != want || got.Epoch != epoch {
		t.Errorf("%+v, want %s in epoch %q", got, want, epoch)
	}
}

func TestANodeSaysItselfWhatItIsAndSilenceIsNoRole(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	s := open(t, c)
	primary, standby := c.Servers[0], c.Servers[1]
	wantRole(t, role(t, s, primary), probes.Primary, "1")
	wantRole(t, role(t, s, standby), probes.Replica, "1")

	if err := primary.Freeze(); err != nil {
		t.Fatal(err)
	}
	frozen := role(t, s, primary)
	wantRole(t, frozen, probes.Silent, "")
	if frozen.Detail != "no reply in time" {
		t.Errorf("a frozen node is silent because of %q", frozen.Detail)
	}
	if err := primary.Thaw(); err != nil {
		t.Fatal(err)
	}
	wantRole(t, role(t, s, primary), probes.Primary, "1")

	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRole(t, role(t, s, standby), probes.Primary, "2") // over the connection of before
	wantRole(t, role(t, s, primary), probes.Primary, "1") // two claims: each tells its own

	primary.Kill()
	if got := role(t, s, primary); got.Role != probes.Silent || got.Detail != "connection refused" {
		t.Errorf("a dead node: %+v", got)
	}
	if err := primary.Follow(t.Context(), standby); err != nil {
		t.Fatal(err)
	}
	wantRole(t, role(t, s, primary), probes.Replica, "2")
}

func TestANodeThatTakesNoConnectionsIsNeither(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{})
	s := open(t, c)
	wantRole(t, role(t, s, c.Servers[0]), probes.Primary, "1")
	c.Servers[0].Kill()
	// A standby that may not be read says 57P03, as a server that starts does.
	if err := c.Servers[0].Closed(); err != nil {
		t.Fatal(err)
	}
	until(t, "the server to say that it takes no connections", func() bool {
		got := role(t, s, c.Servers[0])
		if got.Role != probes.None && got.Role != probes.Silent {
			t.Fatalf("%+v", got)
		}
		return got.Role == probes.None && got.Detail[:6] == "57P03 "
	})
}

func TestAServerThatRefusesUsHasNotAnswered(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{})
	s := open(t, c, func(b *probes.Binding) { b.Clients.DSN += "&user=nobody" })
	if got := role(t, s, c.Servers[0]); got.Role != probes.Silent || got.Detail[:6] != "28000 " {
		t.Errorf("%+v", got)
	}
}

func TestRolesAreAskedByManyAtOnce(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{})
	s := open(t, c)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				if got := role(t, s, c.Servers[0]); got.Role != probes.Primary {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	wg.Wait()
	var n int
	a := hands{c}.admin(t, 0)
	if err := a.QueryRow(t.Context(), "select count(*) from pg_stat_activity where application_name = 'dapple'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("%d connections are kept for roles, want 1", n)
	}
}

func TestMembersFollowOnlyIfTheyHaveWhatThePrimaryHad(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 2})
	s := open(t, c)
	h := hands{c}
	states := func() string {
		members, err := s.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, m := range members {
			if m.Said == "" || m.State == "following" && m.Lag != 0 {
				t.Errorf("%+v", m)
			}
			said += fmt.Sprintf("%s %s %s; ", m.Node, m.State, m.Epoch)
		}
		return said
	}
	waitFor := func(want string) {
		t.Helper()
		last := ""
		until(t, want, func() bool { last = states(); return last == want || t.Failed() })
	}
	waitFor("pg1 primary 1; pg2 following 1; pg3 following 1; ")
	exec(t, h.admin(t, 1), "select pg_wal_replay_pause()")
	exec(t, h.admin(t, 0), "create table something as select generate_series(1, 1000)")
	waitFor("pg1 primary 1; pg2 lagging 1; pg3 following 1; ")
	exec(t, h.admin(t, 1), "select pg_wal_replay_resume()")
	waitFor("pg1 primary 1; pg2 following 1; pg3 following 1; ")
	c.Servers[2].Kill()
	waitFor("pg1 primary 1; pg2 following 1; pg3 absent ; ")
	c.Servers[0].Kill()
	waitFor("pg1 absent ; pg2 lagging 1; pg3 absent ; ")
	if err := c.Servers[1].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor("pg1 absent ; pg2 primary 2; pg3 absent ; ")
}

func TestAMemberIsSyncIfCommitsWaitForIt(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 2, Conf: []string{"synchronous_standby_names=ANY 1 (*)"}})
	s := open(t, c)
	until(t, "both standbys to be of the quorum", func() bool {
		members, err := s.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return !members[0].Sync && members[1].Sync && members[2].Sync
	})
}

// A standby that is behind is often behind because its machine is busy. To give
// up a question there is to connect anew, which costs it more than an answer.
func TestAStandbyThatLagsIsAskedOnTheConnectionOfBefore(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{Standbys: 1})
	s := open(t, c)
	h := hands{c: c}
	standby, admin := c.Servers[1], h.admin(t, 1)
	exec(t, admin, "select pg_wal_replay_pause()")
	exec(t, h.admin(t, 0), "create table behind (i int)")
	look := func() { // one question of it outlasts the patience with one that lags
		t.Helper()
		var thawed sync.WaitGroup
		thawed.Add(1)
		time.AfterFunc(100*time.Millisecond, func() {
			if err := standby.Freeze(); err != nil {
				t.Error(err)
			}
		})
		time.AfterFunc(500*time.Millisecond, func() {
			defer thawed.Done()
			if err := standby.Thaw(); err != nil {
				t.Error(err)
			}
		})
		defer thawed.Wait()
		members, err := s.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if members[1].State != "lagging" || members[1].Lag == 0 {
			t.Errorf("%+v, want it lagging", members[1])
		}
	}
	session := func() (pid int) {
		t.Helper()
		if err := admin.QueryRow(t.Context(), "select pid from pg_stat_activity where application_name = 'dapple'").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	look()
	before := session()
	look()
	look()
	if now := session(); now != before {
		t.Errorf("the session of process %d was given up for one of process %d", before, now)
	}
}
