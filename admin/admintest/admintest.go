// Package admintest is an admin API that misbehaves, for tests of those who
// ask one. Not here: the real frps and frpc (admin/frptest).
package admintest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2prc/admin"
)

// The credentials of every endpoint that Serve makes.
const (
	User     = "p2prc"
	Password = "password-of-this-start"
)

// Serve runs h behind frp's own check of the password until the test ends.
func Serve(t testing.TB, h http.Handler) admin.Endpoint {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != User || password != Password {
			unauthorized(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// serve ends with its requests' contexts cancelled: a fault may hang on them.
func serve(t testing.TB, h http.Handler) admin.Endpoint {
	ctx, stop := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		both, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		h.ServeHTTP(w, r.WithContext(both))
	}))
	t.Cleanup(func() {
		stop()
		s.CloseClientConnections()
		s.Close()
	})
	return admin.Endpoint{
		Addr:     netip.MustParseAddrPort(s.Listener.Addr().String()),
		User:     User,
		Password: Password,
	}
}

// Fault is a way to misbehave.
type Fault struct {
	Name string
	Want error // what asking must come to
	h    http.HandlerFunc
}

// Serve runs an endpoint with this fault until the test ends.
func (f Fault) Serve(t testing.TB) admin.Endpoint {
	t.Helper()
	return serve(t, f.h)
}

// Faults are those of a child that hangs or breaks, and of a stranger on its port.
var Faults = []Fault{
	{"slow", admin.ErrUnavailable, slow},
	{"slow body", admin.ErrUnavailable, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		slow(w, r)
	}},
	{"hangs up", admin.ErrUnavailable, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{"hangs up in the answer", admin.ErrUnavailable, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"tcp":[`)
	}},
	{"500", admin.ErrUnavailable, status(http.StatusInternalServerError, "oops")},
	{"503, come back in a day", admin.ErrUnavailable, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusServiceUnavailable)
	}},
	{"401", admin.ErrNotOurs, unauthorized},
	{"403", admin.ErrNotOurs, status(http.StatusForbidden, "no")},
	{"404", admin.ErrNotOurs, status(http.StatusNotFound, "404 page not found\n")},
	{"418", admin.ErrNotOurs, status(http.StatusTeapot, "\x1b[31mshort and stout")},
	{"no content", admin.ErrNotOurs, status(http.StatusNoContent, "")},
	{"empty", admin.ErrNotOurs, status(http.StatusOK, "")},
	{"null", admin.ErrNotOurs, status(http.StatusOK, "null")},
	{"HTML", admin.ErrNotOurs, status(http.StatusOK, "<!doctype html><title>Router</title>")},
	{"truncated JSON", admin.ErrNotOurs, status(http.StatusOK, `{"tcp":[{"name":"a","type":"tcp","sta`)},
	{"JSON of another kind", admin.ErrNotOurs, status(http.StatusOK, `[1,2,3]`)},
	{"redirect", admin.ErrNotOurs, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}},
	{"1 GB", admin.ErrNotOurs, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000000000")
		_, _ = io.Copy(w, Endless{})
	}},
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// unauthorized is frp's answer to a wrong password (0.61.0-0.70.1).
func unauthorized(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="Restricted"`)
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

// slow answers after 30 s, or when the asker has gone.
func slow(w http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(30 * time.Second):
		_, _ = io.WriteString(w, "{}")
	}
}

// Endless is JSON that never begins.
type Endless struct{}

var blank = strings.Repeat(" ", 256<<10)

func (Endless) Read(p []byte) (int, error) { return copy(p, blank), nil }

// WriteTo spares io.Copy its small buffer.
func (Endless) WriteTo(w io.Writer) (n int64, err error) {
	for err == nil {
		var m int
		m, err = io.WriteString(w, blank)
		n += int64(m)
	}
	return n, err
}
