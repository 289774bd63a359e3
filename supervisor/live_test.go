package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"p2prc/supervisor"
	"p2prc/tables"
)

// live is a server that runs, and its reverse proxy.
type live struct {
	t      *testing.T
	place  *place
	proxy  *role
	server *role
	dir    string // of the server
}

func newLive(t *testing.T, change func(*supervisor.ReverseProxyOptions), maps ...supervisor.Map) *live {
	t.Helper()
	proxyDir, serverDir := dirs(t)
	l := &live{t: t, place: newPlace(t), dir: serverDir}
	if change != nil {
		change(&l.place.o)
	}
	l.proxy = l.place.proxy(proxyDir)
	l.start(join(t, await[supervisor.ProxyReady](l.proxy).JoinString, maps...))
	return l
}

func (l *live) start(change func(*supervisor.ConnectOptions)) {
	l.t.Helper()
	l.server = l.place.server(l.dir, func(o *supervisor.ConnectOptions) {
		o.MapFiles = []string{filepath.Join(l.dir, "mappings.toml")}
		if change != nil {
			change(o)
		}
	})
	await[supervisor.Mapped](l.server)
}

// try maps, and returns what was told and how it ended.
func (l *live) try(ctx context.Context, req supervisor.MapRequest) (rows []supervisor.LiveRow, err error) {
	if req.Timeout == 0 {
		req.Timeout = patience
	}
	err = supervisor.MapLive(ctx, l.dir, req, func(r supervisor.LiveRow) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func (l *live) mapped(maps ...supervisor.Map) []supervisor.LiveRow {
	l.t.Helper()
	rows, err := l.try(l.t.Context(), request(maps...))
	if err != nil || len(rows) != len(maps) {
		l.t.Fatalf("mapping %v: %d rows, %v", maps, len(rows), err)
	}
	return rows
}

func request(maps ...supervisor.Map) supervisor.MapRequest {
	var req supervisor.MapRequest
	for _, m := range maps {
		req.Maps = append(req.Maps, supervisor.MapSpec{Map: m, Named: true})
	}
	return req
}

func (l *live) unmap(names ...string) supervisor.UnmapReply {
	l.t.Helper()
	got, err := supervisor.UnmapLive(l.t.Context(), l.dir, supervisor.UnmapRequest{Names: names, All: len(names) == 0})
	if err != nil || !got.Done {
		l.t.Fatalf("unmapping %v: %+v, %v", names, got, err)
	}
	return got
}

// names are the server's mappings in its table, but for its own port.
func (l *live) names() []string {
	l.t.Helper()
	v, err := tables.ReadMappings(l.dir, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for _, m := range v.Rows {
		if !m.Node && !m.Learned {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (l *live) has(names ...string) {
	l.t.Helper()
	if got := l.names(); !slices.Equal(got, names) {
		l.t.Errorf("mapped are %v, want %v", got, names)
	}
}

func kind(err error) supervisor.Kind {
	if f, ok := errors.AsType[*supervisor.Failure](err); ok {
		return f.Kind
	}
	return -1
}

func hint(err error) string {
	if f, ok := errors.AsType[*supervisor.Failure](err); ok {
		return f.Hint
	}
	return ""
}

// held is a connection to an echo service that must not be dropped.
func held(t *testing.T, at netip.AddrPort) func() {
	t.Helper()
	conn, err := net.Dial("tcp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	buf := make([]byte, 4)
	return func() {
		t.Helper()
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write([]byte("ping")); err != nil {
			t.Fatalf("a connection through another mapping was dropped: %v", err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("a connection through another mapping was dropped: %q, %v", buf, err)
		}
	}
}

// tcpEcho is a TCP service that says what it is told.
func tcpEcho(t *testing.T, name string) supervisor.Map {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close() })
	return supervisor.Map{Name: name, Type: tables.TCP, Local: netip.MustParseAddrPort(ln.Addr().String())}
}

// free is a port on which nothing listens.
func free(t *testing.T, name string) supervisor.Map {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return supervisor.Map{Name: name, Type: tables.TCP, Local: netip.MustParseAddrPort(ln.Addr().String())}
}

// TestLive: mappings come and go on a running node, are what they say, outlive
// a restart, and disturb no other.
func TestLive(t *testing.T) {
	l := newLive(t, nil, tcpEcho(t, "first"))
	ping := held(t, l.server.up("first").Public())
	service, udp := web(t), echo(t)
	rows := l.mapped(service, udp)
	for _, r := range rows {
		if r.State != tables.Up || r.VerifiedAt.IsZero() {
			t.Errorf("told before it was proved: %+v", r)
		}
	}
	at := l.server.up("web").Public()
	if got := get(t, at, "/"); got != "hello" {
		t.Errorf("through the proxy: %q", got)
	}
	udpEcho(t, l.server.up("echo").Public())
	if again := l.mapped(service); again[0].Public() != at {
		t.Errorf("the same call again gives %s, then %s", at, again[0].Public())
	}
	unnamed := supervisor.MapRequest{Maps: []supervisor.MapSpec{{Map: supervisor.Map{Name: service.DefaultName(), Type: service.Type, Local: service.Local}}}}
	if again, err := l.try(t.Context(), unnamed); err != nil || again[0].Public() != at || again[0].Name != "web" {
		t.Errorf("without a name it is another mapping: %v, %v", again, err)
	}
	if _, err := l.try(t.Context(), request(free(t, "web"))); kind(err) != supervisor.Other || !strings.Contains(err.Error(), "the name web is taken by a mapping of") {
		t.Errorf("another mapping of that name: %v", err)
	}
	if _, err := l.try(t.Context(), request(free(t, "first"))); strings.Contains(hint(err), "unmap") {
		t.Errorf("the hint of one of --map: %s", hint(err))
	}
	ping()

	// What never had a lease leaves none, nor stands in the way of those that did.
	file := filepath.Join(l.dir, "mappings.toml")
	if err := os.WriteFile(file, []byte("[[mapping]]\nname = \"never\"\nlocal = 9\nremote = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := supervisor.ReloadLive(t.Context(), l.dir); err != nil {
		t.Fatal(err)
	}
	l.server.row("never", "refused", func(m tables.Mapping) bool {
		return strings.Contains(m.Reason, "not one that this reverse proxy lends")
	})
	if err := l.server.end(supervisor.ErrLeave); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.start(func(o *supervisor.ConnectOptions) { o.Maps = nil })
	if got := l.server.up("web").Public(); got != at {
		t.Errorf("after a restart it is at %s, was at %s", got, at)
	}
	l.has("echo", "web")
	if l.proxy.gone("first") != 0 {
		t.Error("the reverse proxy still has a row of what is not mapped any more")
	}
	if got := l.unmap("echo", fmt.Sprint(at.Port())); !slices.Equal(got.Dropped, []string{"echo", "web"}) {
		t.Errorf("dropped %v", got.Dropped)
	}
	l.has()
	if conn, err := net.Dial("tcp4", at.String()); err == nil {
		conn.Read(make([]byte, 1)) // p2prc may hold the port
		conn.Close()
	}
	if err := l.server.end(nil); err != nil {
		t.Fatal(err)
	}
	l.start(nil)
	l.has()
}

// TestLive_connectionsLiveOn: what is mapped and unmapped beside them does not
// touch connections, and a reload of frpc is no restart.
func TestLive_connectionsLiveOn(t *testing.T) {
	l := newLive(t, nil, tcpEcho(t, "kept"))
	pid := l.server.pid("frpc")
	at := l.server.up("kept").Public()
	var pings []func()
	for range 20 {
		pings = append(pings, held(t, at))
	}
	for i := range 5 {
		a, b := tcpEcho(t, fmt.Sprintf("a%d", i)), tcpEcho(t, fmt.Sprintf("b%d", i))
		l.mapped(a, b)
		for _, ping := range pings {
			ping()
		}
		l.unmap(a.Name)
	}
	l.unmap()
	for _, ping := range pings {
		ping()
	}
	if now := l.server.pid("frpc"); now != pid {
		t.Errorf("frpc is process %d, was %d", now, pid)
	}
	l.has("kept")
}

// TestLive_allOrNothing: what was not told is not there.
func TestLive_allOrNothing(t *testing.T) {
	l := newLive(t, func(o *supervisor.ReverseProxyOptions) { o.MaxPerNode = 8 })
	good, bad := tcpEcho(t, "good"), free(t, "bad")
	both := request(good, bad)
	both.Timeout = time.Second
	rows, err := l.try(t.Context(), both)
	if kind(err) != supervisor.NothingListens || len(rows) > 0 || !strings.Contains(err.Error(), "nothing listens on "+bad.Local.String()) {
		t.Errorf("told %v, %v", rows, err)
	}
	l.has()
	both.Partial = true
	rows, err = l.try(t.Context(), both)
	if kind(err) != supervisor.NothingListens || len(rows) != 1 || rows[0].Name != "good" {
		t.Errorf("partial: told %v, %v", rows, err)
	}
	l.has("good")

	taken := tcpEcho(t, "taken")
	taken.Remote = rows[0].BindPort
	if _, err := l.try(t.Context(), request(tcpEcho(t, "other"), taken)); kind(err) != supervisor.NoPort {
		t.Errorf("a port that another mapping has: %v", err)
	}
	l.has("good")

	var many []supervisor.Map
	for i := range 8 {
		many = append(many, tcpEcho(t, fmt.Sprintf("m%d", i)))
	}
	if _, err := l.try(t.Context(), request(many...)); kind(err) != supervisor.Refused || !strings.Contains(err.Error(), "it may have 8 on this reverse proxy") {
		t.Errorf("more than a node may have: %v", err)
	}
	l.has("good")
	l.mapped(many[:6]...)

	// A caller that goes away takes its mappings along.
	l.unmap()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.try(ctx, request(good, bad))
		done <- err
	}()
	l.server.row("bad", "looked at", func(m tables.Mapping) bool { return m.Reason != "" })
	cancel()
	if err := <-done; err == nil {
		t.Error("a call that was cancelled succeeds")
	}
	gone := supervisor.WaitRequest{Names: []string{"good", "bad"}, Down: true, Timeout: patience}
	if err := supervisor.WaitLive(t.Context(), l.dir, gone, func(supervisor.LiveRow) error { return nil }); err != nil {
		t.Error(err)
	}
	l.mapped(tcpEcho(t, "after")) // its pass comes after that of the taking back
	l.has("after")
}

// TestLive_manyAtOnce: whatever order fifty callers come in, the table is what
// they were told.
func TestLive_manyAtOnce(t *testing.T) {
	l := newLive(t, nil)
	services := make([]supervisor.Map, 25)
	for i := range services {
		services[i] = tcpEcho(t, fmt.Sprintf("s%02d", i))
	}
	l.mapped(services[:10]...)
	var wg sync.WaitGroup
	for i, m := range services {
		wg.Go(func() {
			if rows, err := l.try(t.Context(), request(m)); err != nil && !strings.Contains(err.Error(), "was unmapped before") {
				t.Errorf("%s: %v, %v", m.Name, rows, err)
			}
		})
		wg.Go(func() { // some of them are mapped already, some are not yet
			if _, err := supervisor.UnmapLive(t.Context(), l.dir, supervisor.UnmapRequest{Names: []string{services[(i+5)%25].Name}}); err != nil && kind(err) != supervisor.Other {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l.mapped(services...)
	var names []string
	for _, m := range services {
		names = append(names, m.Name)
		if row := l.server.up(m.Name); row.LocalAddress != m.Local {
			t.Errorf("%s leads to %s, want %s", m.Name, row.LocalAddress, m.Local)
		}
	}
	l.has(names...)
	for range 2 { // what was unmapped does not come back
		l.unmap()
		l.has()
		if err := l.server.end(nil); err != nil {
			t.Fatal(err)
		}
		l.start(nil)
	}
	l.has()
}

var errEnough = errors.New("enough")

// TestLive_proxyGone: every call ends in time, with a reason, and nothing is
// left half done.
func TestLive_proxyGone(t *testing.T) {
	l := newLive(t, nil, tcpEcho(t, "kept"))
	l.mapped(tcpEcho(t, "dropped"))
	if err := l.proxy.end(nil); err != nil {
		t.Fatal(err)
	}
	req := request(tcpEcho(t, "new"))
	req.Timeout = time.Second
	if _, err := l.try(t.Context(), req); kind(err) != supervisor.TimedOut || !strings.Contains(err.Error(), "reverse proxy") {
		t.Errorf("mapping: %v", err)
	}
	l.unmap("dropped")
	l.has("kept")
	down := supervisor.WaitRequest{Names: []string{"kept"}, Down: true, Timeout: patience}
	if err := supervisor.WaitLive(t.Context(), l.dir, down, func(supervisor.LiveRow) error { return nil }); err != nil {
		t.Errorf("waiting for the end: %v", err)
	}
	up := supervisor.WaitRequest{All: true, Timeout: time.Second}
	if err := supervisor.WaitLive(t.Context(), l.dir, up, func(supervisor.LiveRow) error { return nil }); kind(err) != supervisor.TimedOut {
		t.Errorf("waiting: %v", err)
	}
	st, err := supervisor.StatusLive(t.Context(), l.dir)
	if err != nil || len(st.Trouble) == 0 || st.Proxies[0].State != tables.Down {
		t.Errorf("status: %+v, %v", st, err)
	}
	l.proxy = l.place.proxy(l.proxy.dir)
	up.Timeout = patience
	if err := supervisor.WaitLive(t.Context(), l.dir, up, func(supervisor.LiveRow) error { return nil }); err != nil {
		t.Errorf("the proxy is back: %v", err)
	}
}
