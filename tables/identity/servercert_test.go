package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"p2prc/tables/identity"
)

// getURL, when set, makes the test binary a client that knows its roots from
// SSL_CERT_FILE only, as frps does: Go reads that once in a process.
const getURL = "P2PRC_TEST_GET"

func TestMain(m *testing.M) {
	if url := os.Getenv(getURL); url != "" {
		resp, err := http.Get(url)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		resp.Body.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serverCert(t *testing.T) (certPEM []byte, cert tls.Certificate) {
	t.Helper()
	certPEM, keyPEM, err := identity.NewServerCert([]string{"p2prc"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM, cert
}

// As frpc uses it: trustedCaFile is the leaf, serverName its SAN.
func TestNewServerCert_trustedAsRoot(t *testing.T) {
	certPEM, cert := serverCert(t)
	otherPEM, _ := serverCert(t)
	for _, tt := range []struct {
		name  string
		roots []byte
		host  string
		now   time.Time
		ok    bool
	}{
		{"by name", certPEM, "p2prc", time.Now(), true},
		{"by address", certPEM, "127.0.0.1", time.Now(), true},
		{"in 1970", certPEM, "p2prc", time.Unix(1, 0), true},
		{"in 9999", certPEM, "p2prc", time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), true},
		{"other name", certPEM, "frps", time.Now(), false},
		{"other address", certPEM, "127.0.0.2", time.Now(), false},
		{"another certificate of the same name", otherPEM, "p2prc", time.Now(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(tt.roots) {
				t.Fatal("no certificate in the PEM")
			}
			_, _, cerr, _ := shake(t,
				&tls.Config{RootCAs: pool, ServerName: tt.host, Time: func() time.Time { return tt.now }},
				&tls.Config{Certificates: []tls.Certificate{cert}})
			if (cerr == nil) != tt.ok {
				t.Errorf("error %v", cerr)
			}
		})
	}
}

// As the gate uses it: frps has the leaf in SSL_CERT_FILE and checks
// https://127.0.0.1 with tlsVerify.
func TestNewServerCert_trustedThroughSSLCertFile(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("Go ignores SSL_CERT_FILE here")
	}
	certPEM, cert := serverCert(t)
	otherPEM, _ := serverCert(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Listener.Close()
	srv.Listener = ln
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are wanted here
	srv.StartTLS()
	defer srv.Close()

	for _, tt := range []struct {
		name string
		pem  []byte
		ok   bool
	}{{"the leaf", certPEM, true}, {"another leaf", otherPEM, false}} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cert.pem")
			if err := os.WriteFile(file, tt.pem, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = []string{getURL + "=" + srv.URL, "SSL_CERT_FILE=" + file, "SSL_CERT_DIR=/nonexistent"}
			out, err := cmd.CombinedOutput()
			if (err == nil) != tt.ok {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestNewServerCert_needsAName(t *testing.T) {
	if _, _, err := identity.NewServerCert(nil, nil); err == nil {
		t.Error("made a certificate that nobody can check")
	}
}

func BenchmarkHandshake(b *testing.B) {
	ck, sk := identity.NewKey(), identity.NewKey()
	for b.Loop() {
		x, y := net.Pipe()
		s := tls.Server(y, identity.ServerTLS(sk, []string{testALPN}))
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		c := tls.Client(x, identity.ClientTLS(ck, sk.ID(), []string{testALPN}))
		if err := c.Handshake(); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		x.Close()
		y.Close()
	}
}
