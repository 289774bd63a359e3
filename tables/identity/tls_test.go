package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"p2prc/tables/identity"
)

const testALPN = "p2prc-test/1"

// shake runs both ends of a handshake, and a byte each way: in TLS 1.3 a
// client learns only from its first read that its certificate was refused.
func shake(t *testing.T, client, server *tls.Config) (cs, ss tls.ConnectionState, cerr, serr error) {
	t.Helper()
	// A real socket: over net.Pipe an alert waits for a reader that is writing.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	end := func(c *tls.Conn) (tls.ConnectionState, error) {
		err := c.Handshake()
		if err == nil {
			go c.Write([]byte{1})
			_, err = c.Read(make([]byte, 1))
		}
		if err != nil {
			c.NetConn().Close()
		}
		return c.ConnectionState(), err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ss, serr = end(tls.Server(b, server))
	}()
	cs, cerr = end(tls.Client(a, client))
	<-done
	return cs, ss, cerr, serr
}

func TestTLS_eachEndKnowsTheOther(t *testing.T) {
	ck, sk := identity.NewKey(), identity.NewKey()
	for _, want := range []identity.ID{sk.ID(), ""} {
		cs, ss, cerr, serr := shake(t,
			identity.ClientTLS(ck, want, []string{testALPN}), identity.ServerTLS(sk, []string{testALPN}))
		if cerr != nil || serr != nil {
			t.Fatal(cerr, serr)
		}
		if id, err := identity.PeerID(cs); err != nil || id != sk.ID() {
			t.Errorf("the client sees %s, %v", id, err)
		}
		if id, err := identity.PeerID(ss); err != nil || id != ck.ID() {
			t.Errorf("the server sees %s, %v", id, err)
		}
		if cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != testALPN || cs.DidResume {
			t.Errorf("version %x, protocol %q, resumed %t", cs.Version, cs.NegotiatedProtocol, cs.DidResume)
		}
		ca, err := identity.JoinExporter(cs)
		if err != nil {
			t.Fatal(err)
		}
		sa, err := identity.JoinExporter(ss)
		if err != nil || string(ca) != string(sa) || len(ca) != 32 {
			t.Errorf("exporters differ, %v", err)
		}
	}
}

func TestTLS_noClock(t *testing.T) {
	ck, sk := identity.NewKey(), identity.NewKey()
	for _, now := range []time.Time{time.Unix(5, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(-1e9, 0)} {
		c, s := identity.ClientTLS(ck, sk.ID(), []string{testALPN}), identity.ServerTLS(sk, []string{testALPN})
		c.Time, s.Time = func() time.Time { return now }, func() time.Time { return now }
		if _, _, cerr, serr := shake(t, c, s); cerr != nil || serr != nil {
			t.Errorf("in %d: %v, %v", now.Year(), cerr, serr)
		}
	}
}

func TestTLS_wrongPin(t *testing.T) {
	ck, sk, other := identity.NewKey(), identity.NewKey(), identity.NewKey()
	_, _, cerr, serr := shake(t,
		identity.ClientTLS(ck, other.ID(), []string{testALPN}), identity.ServerTLS(sk, []string{testALPN}))
	pe, ok := errors.AsType[*identity.PinError](cerr)
	if !ok || pe.Want != other.ID() || pe.Got != sk.ID() {
		t.Errorf("error %v, want a PinError", cerr)
	}
	if !strings.Contains(cerr.Error(), string(other.ID())) || !strings.Contains(cerr.Error(), string(sk.ID())) {
		t.Errorf("the message does not name both: %v", cerr)
	}
	if serr == nil {
		t.Error("the server thinks that all is well")
	}
}

// otherCert is a certificate of a common kind, which no node shows.
func otherCert(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestServerTLS_refuses(t *testing.T) {
	ck, sk := identity.NewKey(), identity.NewKey()
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"no certificate", func(c *tls.Config) { c.GetClientCertificate = nil }},
		{"certificate of another kind", func(c *tls.Config) {
			cert := otherCert(t)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}},
		{"certificate of a key it does not have", func(c *tls.Config) {
			get := c.GetClientCertificate
			c.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				cert, err := get(i)
				stolen := *cert
				_, stolen.PrivateKey, _ = ed25519.GenerateKey(rand.Reader)
				return &stolen, err
			}
		}},
		{"no protocol", func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }},
		{"unknown protocol", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := identity.ClientTLS(ck, "", []string{testALPN})
			tt.change(c)
			if _, _, cerr, serr := shake(t, c, identity.ServerTLS(sk, []string{testALPN})); serr == nil || cerr == nil {
				t.Errorf("accepted: client %v, server %v", cerr, serr)
			}
		})
	}
}

func TestClientTLS_refuses(t *testing.T) {
	ck, sk := identity.NewKey(), identity.NewKey()
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"certificate of another kind", func(c *tls.Config) {
			cert := otherCert(t)
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
		}},
		{"the pinned certificate without its key", func(c *tls.Config) {
			get := c.GetCertificate
			c.GetCertificate = func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
				cert, err := get(i)
				stolen := *cert
				_, stolen.PrivateKey, _ = ed25519.GenerateKey(rand.Reader)
				return &stolen, err
			}
		}},
		{"no protocol", func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := identity.ServerTLS(sk, []string{testALPN})
			tt.change(s)
			if _, _, cerr, _ := shake(t, identity.ClientTLS(ck, sk.ID(), []string{testALPN}), s); cerr == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestPeerID_noCertificate(t *testing.T) {
	if id, err := identity.PeerID(tls.ConnectionState{}); err == nil {
		t.Errorf("got %s", id)
	}
}
