package proof_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

func siteAt(t *testing.T, h http.Handler) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return addrOf(t, srv.Listener.Addr())
}

func httpAt(at netip.AddrPort) proof.Way {
	return proof.Way{Type: tables.HTTP, Addr: at, Domain: "node.p2prc.invalid"}
}

// httpsAt is where every connection is answered within TLS, as example.com.
func httpsAt(t *testing.T, answer func(net.Conn)) proof.Way {
	t.Helper()
	srv := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(srv.Close)
	ln := listen(t, "127.0.0.1")
	serve(t, ln, func(conn net.Conn) { answer(tls.Server(conn, srv.TLS)) })
	return proof.Way{
		Type: tables.HTTPS, Addr: addrOf(t, ln.Addr()), Domain: "example.com",
		TLS: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	}
}

func TestProbe_http(t *testing.T) {
	c := proof.NewCanary()
	var host string
	at := siteAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		c.ServeHTTP(w, r)
	}))
	if _, err := c.Probe(t.Context(), httpAt(at)); err != nil || host != "node.p2prc.invalid" {
		t.Errorf("asked for %q: %v", host, err)
	}
	if _, err := proof.NewCanary().Probe(t.Context(), httpAt(at)); !errors.Is(err, proof.ErrStranger) {
		t.Errorf("another node's canary: %v", err)
	}
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"no such domain": {http.NotFound, "nobody answers for the domain there"},
		"a web page":     {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }, "something else answers there"},
		"an endless page": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				w.Write(make([]byte, 1000))
			}
		}, "something else answers there"},
		"a long header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("A", strings.Repeat("a", 1<<20)) }, "the connection was closed without an answer"},
		"hangs up":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the connection was closed without an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.Probe(t.Context(), httpAt(siteAt(t, tt.h))); err == nil || err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	for _, said := range []string{"SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 two hundred\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"} {
		ln := listen(t, "127.0.0.1")
		serve(t, ln, func(conn net.Conn) {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1000)) // a close with unread bytes would be a reset
			_, _ = io.WriteString(conn, said)
		})
		if _, err := c.Probe(t.Context(), httpAt(addrOf(t, ln.Addr()))); err != proof.ErrStranger {
			t.Errorf("who says %q: %v", said, err)
		}
	}
	if _, err := c.Probe(t.Context(), httpAt(free(t, "127.13.0.7"))); !errors.Is(err, proof.ErrRefused) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestCanary_ServeHTTP(t *testing.T) {
	at := siteAt(t, proof.NewCanary())
	for _, path := range []string{"/", "/canary/", "/canary/00", "/canary/" + strings.Repeat("zz", 32), "/canary/" + strings.Repeat("00", 33)} {
		resp, err := http.Get("http://" + at.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestProbe_https(t *testing.T) {
	c := proof.NewCanary()
	w := httpsAt(t, c.Answer)
	if _, err := c.Probe(t.Context(), w); err != nil {
		t.Error(err)
	}
	if _, err := proof.NewCanary().Probe(t.Context(), w); !errors.Is(err, proof.ErrStranger) {
		t.Errorf("another node's canary: %v", err)
	}
	stranger := w
	stranger.TLS = &tls.Config{}
	if _, err := c.Probe(t.Context(), stranger); err == nil {
		t.Error("a stranger's certificate is taken for a proof")
	}
	w.Addr = siteAt(t, http.NotFoundHandler())
	if _, err := c.Probe(t.Context(), w); err == nil {
		t.Error("plain HTTP is taken for a proof")
	}
}
