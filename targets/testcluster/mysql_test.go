package testcluster

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/scenarios"
)

func TestTheMySQLClustersDeclareWhatTheirSettingsPromise(t *testing.T) {
	for _, k := range mysqlKinds() {
		o := k.Objectives
		if k.Kind != "mysqlgr" || *o.RTO != scenarios.Duration(40*time.Second) || *o.RPO.Writes != 0 || !bool(*o.SplitBrain) {
			t.Errorf("%s: %+v", k.Name, o)
		}
	}
}

func TestTheNodesOfAMySQLClusterAreConfiguredAsPromised(t *testing.T) {
	for _, c := range []struct {
		name      string
		v         mysql
		node      int
		has, lack []string
	}{
		{"the first", mysql{}, 1, []string{"server-id = 1\n", "super-read-only = ON", "local-address = 10.213.1.11:33061", "group-seeds = 10.213.1.11:33061,10.213.1.12:33061,10.213.1.13:33061", "expel-timeout = 5\n", "sync-binlog = 1", "BOOTSTRAP"}, []string{"FORCE"}},
		{"another", mysql{}, 2, []string{"server-id = 2\n", "report-host = 10.213.1.12"}, []string{"BOOTSTRAP"}},
		{"at once", mysql{hasty: true}, 1, []string{"expel-timeout = 0\n"}, nil},
		{"after an hour", mysql{expel: time.Hour}, 3, []string{"expel-timeout = 3600\n"}, nil},
		{"forcing", mysql{forcing: true}, 3, []string{"FORCE"}, nil},
	} {
		s := &mysqlStart{mysql: c.v, run: madeRun()}
		p, err := s.node(c.node)
		if err != nil {
			t.Fatal(err)
		}
		if users := p.files["/etc/dapple/first.sql"]; strings.Count(users, "'"+s.secrets.app+"'") != 1 || strings.Count(users, "'"+s.secrets.replication+"'") != 2 {
			t.Errorf("%s: the passwords are not where they are needed:\n%s", c.name, users)
		}
		text := p.files["/etc/dapple/my.cnf"] + fmt.Sprint(p.env)
		for _, want := range c.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", c.name, want, text)
			}
		}
		for _, not := range c.lack {
			if strings.Contains(text, not) {
				t.Errorf("%s has %q:\n%s", c.name, not, text)
			}
		}
	}
}

func TestTheNameOfAGroupIsAUUIDOfItsRun(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := groupName("30779e0f"), groupName("f475e4c6"); a == b || !uuid.MatchString(a) || !uuid.MatchString(b) {
		t.Errorf("%s, %s", a, b)
	}
}

func TestTheSystemFileOfAMySQLClusterNamesItsServers(t *testing.T) {
	r := madeRun()
	sys := mysql{}.system(mysqlKinds()[0].Info, r.place, r.o)
	if want := "mysql://app@10.213.1.11:3306,10.213.1.12:3306,10.213.1.13:3306/app"; sys.Clients.DSN != want {
		t.Errorf("%s, want %s", sys.Clients.DSN, want)
	}
	if sys.Clients.Password.File != "/state/clusters/r1/app.password" {
		t.Errorf("the password file is %q", sys.Clients.Password.File)
	}
}
