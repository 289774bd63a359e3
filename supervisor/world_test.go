package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor"
	"p2prc/supervisor/child"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// patience bounds every wait of these tests: a loaded machine with the race
// detector takes its time.
const patience = 30 * time.Second

// role is one p2prc of a test: a reverse proxy or a server, with real frp.
type role struct {
	t       *testing.T
	dir     string
	notices chan supervisor.Notice
	stop    context.CancelCauseFunc
	done    chan error
	once    sync.Once
	err     error
}

func start(t *testing.T, dir string, run func(context.Context, supervisor.Common) error) *role {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	r := &role{t: t, dir: dir, notices: make(chan supervisor.Notice, 256), stop: stop, done: make(chan error, 1)}
	log := testLog(t)
	go func() {
		r.done <- run(ctx, supervisor.Common{
			Dir: dir, Name: filepath.Base(dir), Version: "test", Log: log,
			Notify: func(n supervisor.Notice) {
				select {
				case r.notices <- n:
				default:
				}
			},
		})
	}()
	t.Cleanup(func() {
		r.end(nil)
		r.reap()
	})
	return r
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	if bytes.Count(b, []byte("component=")) != 1 {
		w.t.Errorf("which part of p2prc says this? %s", b)
	}
	return len(b), nil
}

// end stops the role, or lets it leave, and returns what it returned.
func (r *role) end(cause error) error {
	r.once.Do(func() {
		r.stop(cause)
		select {
		case r.err = <-r.done:
		case <-time.After(patience):
			r.err = errors.New("it did not stop")
		}
	})
	return r.err
}

// reap ends an frp that a failed test left behind.
func (r *role) reap() {
	for _, name := range []string{"frps", "frpc"} {
		run := filepath.Join(r.dir, "private", name+".run")
		if proc, _, err := child.Adopt(child.Spec{Name: name, Path: run, RunFile: run, LogFile: run + ".log"}); err == nil {
			proc.Kill()
		}
	}
}

// failed waits for the role to end by itself.
func (r *role) failed() *supervisor.Failure {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.once.Do(func() { r.err = err })
		f, ok := errors.AsType[*supervisor.Failure](err)
		if !ok {
			r.t.Fatalf("ended with %v, want a failure", err)
		}
		return f
	case <-time.After(patience):
		r.t.Fatal("it did not end")
		return nil
	}
}

// await returns the first notice of that type.
func await[N supervisor.Notice](r *role) N {
	r.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case n := <-r.notices:
			if got, ok := n.(N); ok {
				return got
			}
		case err := <-r.done:
			r.once.Do(func() { r.err = err })
			r.t.Fatalf("ended with: %v", err)
		case <-limit:
			r.t.Fatalf("no %T", *new(N))
		}
	}
}

// row waits until the mapping's row in the table is as wanted.
func (r *role) row(name, what string, want func(tables.Mapping) bool) tables.Mapping {
	r.t.Helper()
	return r.rowAt(netip.Addr{}, name, what, want)
}

// rowAt is row for one of several reverse proxies.
func (r *role) rowAt(proxy netip.Addr, name, what string, want func(tables.Mapping) bool) tables.Mapping {
	r.t.Helper()
	var last tables.Mapping
	var lastErr error
	limit := time.Now().Add(patience)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		v, err := tables.ReadMappings(r.dir, time.Now())
		lastErr = err
		for _, m := range v.Rows {
			if m.Name == name && (!proxy.IsValid() || m.Address == proxy) {
				last = m
				if want(m) {
					tick.Stop()
					return m
				}
			}
		}
		if time.Now().After(limit) {
			r.t.Fatalf("row %s is never %s: %+v, %v", name, what, last, lastErr)
		}
	}
}

// gone waits until no row of that name is in the table, and returns how many
// there are left.
func (r *role) gone(name string) (left int) {
	r.t.Helper()
	var last tables.Mapping
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-tick.C {
		v, err := tables.ReadMappings(r.dir, time.Now())
		if err != nil {
			r.t.Fatal(err)
		}
		left = 0
		for _, m := range v.Rows {
			if m.Name == name {
				left, last = left+1, m
			}
		}
		if left == 0 {
			return 0
		}
	}
	r.t.Logf("left in %s: %+v", r.dir, last)
	return left
}

func (r *role) up(name string) tables.Mapping {
	r.t.Helper()
	return r.row(name, "up", func(m tables.Mapping) bool { return m.State == tables.Up })
}

// pid is of the role's frp process.
func (r *role) pid(name string) int {
	r.t.Helper()
	run, err := child.ReadRun(filepath.Join(r.dir, "private", name+".run"))
	if err != nil {
		r.t.Fatal(err)
	}
	return run.PID
}

func (r *role) kill(name string) {
	r.t.Helper()
	p, err := os.FindProcess(r.pid(name))
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// net is where a test's reverse proxy lives: an address of its own, so that
// tests do not meet.
type place struct {
	t       *testing.T
	host    netip.Addr
	version string
	o       supervisor.ReverseProxyOptions
}

var (
	placeMu   sync.Mutex
	nextPlace = 1
)

func newPlace(t *testing.T) *place {
	t.Helper()
	placeMu.Lock()
	defer placeMu.Unlock()
	nextPlace++
	// Tests of two checkouts may run at once: the process is part of the address.
	host := netip.AddrFrom4([4]byte{127, 31, byte(os.Getpid()), byte(nextPlace)})
	return &place{t: t, host: host, version: frptest.Version, o: supervisor.ReverseProxyOptions{
		PublicAddress: host, ListenHost: host, ListenPort: 8088, FRPPort: 7000,
		Ports: tables.PortRange{First: 20000, Last: 20099},
	}}
}

func (p *place) proxy(dir string) *role {
	return start(p.t, dir, func(ctx context.Context, c supervisor.Common) error {
		o := p.o
		c.PrivateAddresses = o.PrivateAddresses
		o.Common, o.FRPS = c, frptest.Path(p.t, "frps", p.version)
		return supervisor.ReverseProxy(ctx, o)
	})
}

func (p *place) server(dir string, change func(*supervisor.ConnectOptions)) *role {
	return start(p.t, dir, func(ctx context.Context, c supervisor.Common) error {
		o := supervisor.ConnectOptions{Common: c, Proxies: []supervisor.Upstream{{Host: p.host.String(), Port: 8088}}, FRPC: frptest.Path(p.t, "frpc", p.version)}
		if change != nil {
			change(&o)
		}
		return supervisor.Connect(ctx, o)
	})
}

// join makes a server's options those of a join string.
func join(t *testing.T, text string, maps ...supervisor.Map) func(*supervisor.ConnectOptions) {
	t.Helper()
	j, err := identity.ParseJoin(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *supervisor.ConnectOptions) {
		o.Proxies[0].Pin, o.Proxies[0].Token, o.Maps = j.Pin, j.Token, maps
	}
}

// web is a service that says hello.
func web(t *testing.T) supervisor.Map {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	t.Cleanup(srv.Close)
	return supervisor.Map{Name: "web", Type: tables.TCP, Local: netip.MustParseAddrPort(srv.Listener.Addr().String())}
}

// echo is a UDP service that says what it is told.
func echo(t *testing.T) supervisor.Map {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return supervisor.Map{Name: "echo", Type: tables.UDP, Local: netip.MustParseAddrPort(conn.LocalAddr().String())}
}

func get(t *testing.T, at netip.AddrPort, path string) string {
	t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + at.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", at, resp.Status, err)
	}
	return string(b)
}
