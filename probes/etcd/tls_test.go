package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dapple-drills/dapple/probes"
)

// taker acknowledges every write: what is tested is the way there.
type taker struct{ pb.UnimplementedKVServer }

func (taker) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	return &pb.PutResponse{Header: &pb.ResponseHeader{MemberId: 0xabc, RaftTerm: 7}}, nil
}

// certificate makes one for 127.0.0.1 that vouches for itself, as files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// serveTLS serves a taker that wants to see a certificate itself.
func serveTLS(t *testing.T, cert, key string) (addr string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})))
	pb.RegisterKVServer(server, taker{})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestHTTPSEndpointsAreSpokenToWithCertificatesOnBothSides(t *testing.T) {
	cert, key := certificate(t)
	addr := serveTLS(t, cert, key)
	try := func(dsn string, extra map[string]string) probes.Ack {
		sys, err := Open(t.Context(), probes.Binding{Clients: probes.Clients{DSN: dsn}, Extra: extra})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		x, refused := sys.Open(ctx, probes.Where{})
		if refused != nil {
			return *refused
		}
		defer x.Close()
		return x.Put(ctx, probes.Write{Run: "tls"})
	}
	good := try("https://"+addr, map[string]string{"ca": cert, "cert": cert, "key": key})
	if good.Class != probes.Acked || good.Node != "abc" || good.Epoch != "7" {
		t.Errorf("with the right certificates: %+v", good)
	}
	for what, ack := range map[string]probes.Ack{
		"an unknown authority":      try("https://"+addr, map[string]string{"cert": cert, "key": key}),
		"no certificate of our own": try("https://"+addr, map[string]string{"ca": cert}),
		"no TLS":                    try("http://"+addr, nil),
	} {
		if ack.Class != probes.Failed || !strings.HasPrefix(ack.Reply, "not connected: ") || strings.Contains(ack.Reply, addr) {
			t.Errorf("%s: %+v", what, ack)
		}
	}
}
