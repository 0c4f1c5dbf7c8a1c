package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapple-drills/dapple/probes"
	"github.com/dapple-drills/dapple/probes/postgres/postgrestest"
)

// A session under TLS knows as well what left, and that it was ended while idle.
func TestSessionsUnderTLSAndPasswordsAreTheSame(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Options{})
	h := hands{c}
	secure(t, c)
	exec(t, h.admin(t, 0), "create role app login superuser password 'secret'")
	s := open(t, c, func(b *probes.Binding) {
		b.Clients.DSN = "postgres://app@" + c.Servers[0].Addr + "/postgres?sslmode=require"
		b.Clients.Password = func() (string, error) { return "secret", nil }
	})
	if err := s.Prepare(t.Context(), "tls"); err != nil {
		t.Fatal(err)
	}
	x, refused := s.Open(t.Context(), probes.Where{Node: c.Servers[0]})
	if refused != nil {
		t.Fatalf("%+v", *refused)
	}
	defer x.Close()
	if a := x.Put(t.Context(), probes.Write{Run: "tls"}); a.Class != probes.Acked {
		t.Fatalf("%+v", a)
	}
	var secured bool
	a := h.admin(t, 0)
	if err := a.QueryRow(t.Context(), "select bool_and(ssl) from pg_stat_ssl natural join pg_stat_activity where application_name = 'dapple'").Scan(&secured); err != nil || !secured {
		t.Errorf("under TLS: %v, %v", secured, err)
	}
	exec(t, a, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'dapple'")
	if a := x.Put(t.Context(), probes.Write{Run: "tls", Seq: 1}); a.Class == probes.Acked || a.Class == probes.Degraded || !x.Broken() {
		t.Errorf("on a session that was ended: %+v, broken: %v", a, x.Broken())
	}
	wrong := open(t, c, func(b *probes.Binding) {
		b.Clients.DSN = "postgres://app:wrong@" + c.Servers[0].Addr + "/postgres?sslmode=require"
	})
	if _, refused := wrong.Open(t.Context(), probes.Where{Node: c.Servers[0]}); refused == nil || refused.Class != probes.Failed || !strings.HasPrefix(refused.Reply, "not connected: 28P01 ") {
		t.Errorf("with a wrong password: %+v", refused)
	}
}

// secure has the server offer TLS, and ask the role app for a password.
func secure(t *testing.T, c *postgrestest.Cluster) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Servers[0]
	for name, data := range map[string][]byte{
		"server.crt":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"server.key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"pg_hba.conf": []byte("host all app 127.0.0.0/8 scram-sha-256\nhost all all 127.0.0.0/8 trust\n"),
	} {
		path := filepath.Join(s.Data, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Own(path); err != nil {
			t.Fatal(err)
		}
	}
	a := hands{c}.admin(t, 0)
	exec(t, a, "alter system set ssl = on", "select pg_reload_conf()")
	until(t, "TLS to be offered", func() bool {
		var on string
		return a.QueryRow(t.Context(), "show ssl").Scan(&on) == nil && on == "on"
	})
}
