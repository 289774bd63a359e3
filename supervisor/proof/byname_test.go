package proof_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"p2prc/supervisor/proof"
)

func siteAt(t *testing.T, h http.Handler) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return addrOf(t, srv.Listener.Addr())
}

func TestProbeHTTP(t *testing.T) {
	c := proof.NewCanary()
	var host string
	at := siteAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		c.ServeHTTP(w, r)
	}))
	if err := c.ProbeHTTP(t.Context(), at, "node.p2prc.invalid"); err != nil || host != "node.p2prc.invalid" {
		t.Errorf("asked for %q: %v", host, err)
	}
	if err := proof.NewCanary().ProbeHTTP(t.Context(), at, "x.test"); !errors.Is(err, proof.ErrStranger) {
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
			if err := c.ProbeHTTP(t.Context(), siteAt(t, tt.h), "x.test"); err == nil || err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	if err := c.ProbeHTTP(t.Context(), free(t, "127.13.0.7"), "x.test"); !errors.Is(err, proof.ErrRefused) {
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

func TestProbeTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	at := addrOf(t, srv.Listener.Addr())
	conf := &tls.Config{ServerName: "example.com", RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if err := proof.ProbeTLS(t.Context(), at, conf); err != nil {
		t.Error(err)
	}
	if err := proof.ProbeTLS(t.Context(), at, &tls.Config{ServerName: "example.com"}); err == nil {
		t.Error("a stranger's certificate is taken for a proof")
	}
	if err := proof.ProbeTLS(t.Context(), siteAt(t, http.NotFoundHandler()), conf); err == nil {
		t.Error("plain HTTP is taken for a proof")
	}
}
