package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p2prc/admin"
	"p2prc/admin/admintest"
)

// questions are all that can be asked, by name.
func questions(at admin.Endpoint) map[string]func(context.Context) error {
	frps, frpc := admin.NewFRPS(at), admin.NewFRPC(at)
	return map[string]func(context.Context) error{
		"frps info":    func(ctx context.Context) error { _, err := frps.Info(ctx); return err },
		"frps proxies": func(ctx context.Context) error { _, err := frps.Proxies(ctx, "tcp"); return err },
		"frps proxy":   func(ctx context.Context) error { _, err := frps.Proxy(ctx, "tcp", "n.a"); return err },
		"frpc status":  func(ctx context.Context) error { _, err := frpc.Status(ctx); return err },
		"frpc reload":  frpc.Reload,
		"frpc stop":    frpc.Stop,
	}
}

// Whatever sits on the port, asking ends in time with an error that says whose
// fault it is, and without a secret in it.
func TestFaults(t *testing.T) {
	// These say nothing but 200, and of that answer only the status is looked at.
	bodiless := map[string]bool{"frpc reload": true, "frpc stop": true}
	says200 := map[string]bool{"empty": true, "null": true, "HTML": true, "truncated JSON": true, "JSON of another kind": true}
	for _, fault := range admintest.Faults {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			at := fault.Serve(t)
			var wg sync.WaitGroup
			defer wg.Wait()
			for name, ask := range questions(at) {
				if bodiless[name] && says200[fault.Name] {
					continue
				}
				wg.Go(func() {
					start := time.Now()
					err := ask(t.Context())
					if !errors.Is(err, fault.Want) {
						t.Errorf("%s: %v, want %v", name, err, fault.Want)
					}
					if took := time.Since(start); took > 4*time.Second {
						t.Errorf("%s took %v", name, took)
					}
					if got := fmt.Sprint(err); strings.Contains(got, admintest.Password) || strings.ContainsRune(got, '\x1b') {
						t.Errorf("%s: unfit for a log: %q", name, got)
					}
				})
			}
		})
	}
}

// An answer without end or announced length is not kept, and given up as soon
// as it is too long.
func TestFaults_endless(t *testing.T) {
	sent := make(chan int64, 1)
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, _ := io.Copy(w, admintest.Endless{})
		sent <- n
	}))
	// On a slow machine the time limit comes first.
	if _, err := admin.NewFRPC(at).Status(t.Context()); !errors.Is(err, admin.ErrNotOurs) && !errors.Is(err, admin.ErrUnavailable) {
		t.Errorf("Status: %v", err)
	}
	if n := <-sent; n > 32<<20 { // the limit, and what lies in sockets
		t.Errorf("%d MiB were taken", n>>20)
	}
}

func TestCall_nobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := admin.Endpoint{Addr: netip.MustParseAddrPort(ln.Addr().String()), User: "u", Password: "p"}
	ln.Close()
	frpc := admin.NewFRPC(at)
	// 100 questions of somebody who waits for a start: with one retry each they
	// would take 2 s.
	start := time.Now()
	for range 100 {
		if _, err := frpc.Status(t.Context()); !errors.Is(err, admin.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("a refused dial was retried: 100 took %v", took)
	}
}

func TestCall_retries(t *testing.T) {
	var asked atomic.Int32
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "{}")
	}))
	if _, err := admin.NewFRPC(at).Status(t.Context()); err != nil {
		t.Error(err)
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
}

func TestCall_callersEndIsNotTheEndpointsFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	at := admintest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	_, err := admin.NewFRPC(at).Status(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, admin.ErrUnavailable) {
		t.Errorf("Status: %v, want only that the caller's context ended", err)
	}
}

func TestCall_doesNotFollowRedirects(t *testing.T) {
	followed := make(chan struct{}, 1)
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed <- struct{}{}
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	if _, err := admin.NewFRPS(at).Info(t.Context()); !errors.Is(err, admin.ErrNotOurs) {
		t.Errorf("Info: %v", err)
	}
	select {
	case <-followed:
		t.Error("the redirect was followed")
	default:
	}
}

// Polls come every few milliseconds: each must not cost a connection.
func TestCall_keepsTheConnection(t *testing.T) {
	var mu atomic.Pointer[string]
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if old := mu.Swap(&r.RemoteAddr); old != nil && *old != r.RemoteAddr {
			t.Errorf("asked from %s, then from %s", *old, r.RemoteAddr)
		}
		fmt.Fprint(w, `{"tcp":[{"name":"n.a","type":"tcp","status":"running","err":"","remote_addr":"x:1"}]}`)
	}))
	frpc := admin.NewFRPC(at)
	for range 5 {
		if _, err := frpc.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// frp names a domain with its port, but for 80 and 443 (0.61.0-0.70.1).
func TestStatus_domains(t *testing.T) {
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"http":[{"name":"n.a","type":"http","status":"running","remote_addr":"a.test"},{"name":"n.b","type":"http","status":"running","remote_addr":"b.test:8080"},`+
			`{"name":"n.c","type":"http","status":"start error","err":"router config conflict","remote_addr":""}],`+
			`"https":[{"name":"n.d","type":"https","status":"running","remote_addr":"d.test"}],"tcp":[{"name":"n.e","type":"tcp","status":"running","remote_addr":"e.test:20000"}]}`)
	}))
	got, err := admin.NewFRPC(at).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"n.a": "a.test", "n.b": "b.test", "n.c": "", "n.d": "d.test", "n.e": ""} {
		if got[name].Domain != want {
			t.Errorf("%s has domain %q, want %q", name, got[name].Domain, want)
		}
	}
}

func TestCall_ignoresTheEnvironmentsProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	t.Setenv("http_proxy", "http://127.0.0.1:9")
	at := admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	if _, err := admin.NewFRPC(at).Status(t.Context()); err != nil {
		t.Error(err)
	}
}
