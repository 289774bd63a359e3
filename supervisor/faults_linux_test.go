package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor"
	"p2prc/supervisor/child"
	"p2prc/tables"
)

// record keeps a log for the test to look at, and shows it too.
type record struct {
	t  *testing.T
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Log(strings.TrimSpace(string(b)))
	return r.b.Write(b)
}

func (r *record) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.b.String(), text)
}

func (p *place) recordedProxy(dir string) (*role, *record) {
	log := &record{t: p.t}
	return start(p.t, dir, func(ctx context.Context, c supervisor.Common) error {
		o := p.o
		o.Common, o.FRPS = c, frptest.Path(p.t, "frps", p.version)
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		return supervisor.ReverseProxy(ctx, o)
	}), log
}

// gateAt is where the running frps asks, as its run file says.
func (r *role) gateAt() (facts struct {
	Addr netip.AddrPort `json:"addr"`
	Path string         `json:"path"`
},
) {
	r.t.Helper()
	run, err := child.ReadRun(filepath.Join(r.dir, "private", "frps.run"))
	if err == nil {
		err = json.Unmarshal(run.Extra, &facts)
	}
	if err != nil || !facts.Addr.IsValid() || len(facts.Path) < 20 {
		r.t.Fatalf("the gate's facts: %+v, %v", facts, err)
	}
	return facts
}

// again waits until the mapping was proved later than that, by both.
func again(since time.Time, name string, roles ...*role) (m tables.Mapping) {
	for _, r := range roles {
		m = r.row(name, "proved again", func(m tables.Mapping) bool {
			return m.State == tables.Up && m.VerifiedAt.After(since)
		})
	}
	return m
}

// TestGate_stays: frps goes on asking at the same address, path and key,
// whichever p2prc answers; a new frpc gets in.
func TestGate_stays(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t)))
	row := server.up("web")
	key := func() string {
		b, err := os.ReadFile(filepath.Join(proxyDir, "private", "gate.key"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	facts, frps, was := proxy.gateAt(), proxy.pid("frps"), key()
	for range 2 {
		if err := proxy.end(supervisor.ErrLeave); err != nil {
			t.Fatal(err)
		}
		proxy = p.proxy(proxyDir)
		if !await[supervisor.ProxyReady](proxy).Adopted {
			t.Error("frps was not adopted")
		}
		if now := proxy.gateAt(); now != facts || proxy.pid("frps") != frps || key() != was {
			t.Errorf("the gate was %+v, is %+v; frps was %d, is %d", facts, now, frps, proxy.pid("frps"))
		}
		killed := time.Now()
		server.kill("frpc")
		if now := again(killed, "web", server); now.Public() != row.Public() {
			t.Errorf("was %v, is %v", row.Public(), now.Public())
		}
	}
}

// TestGate_portTaken: while p2prc was away somebody else took the port where
// frps asks. That frps would never let anyone in again: it is replaced, and the
// log says why.
func TestGate_portTaken(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t)))
	row := server.up("web")
	facts, frps := proxy.gateAt(), proxy.pid("frps")
	if err := proxy.end(supervisor.ErrLeave); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(frps, 0); err != nil {
		t.Fatalf("frps went with its p2prc: %v", err)
	}
	thief, err := net.Listen("tcp4", facts.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	back := time.Now()
	proxy, log := p.recordedProxy(proxyDir)
	if await[supervisor.ProxyReady](proxy).Adopted {
		t.Error("an frps that asks somebody else was adopted")
	}
	if !log.has("replacing the running frps") || !log.has("opening the gate: listen tcp4 "+facts.Addr.String()) {
		t.Error("the log does not say why")
	}
	if now := proxy.gateAt(); now.Addr == facts.Addr || now.Path == facts.Path || proxy.pid("frps") == frps {
		t.Errorf("the gate was %+v, is %+v; frps was %d, is %d", facts, now, frps, proxy.pid("frps"))
	}
	now := again(back, "web", server)
	if now.Public() != row.Public() || get(t, now.Public(), "/") != "hello" {
		t.Errorf("was %v, is %v", row.Public(), now.Public())
	}
}

// TestCrashLoop is F2: an frpc that ends as soon as it is started. It is tried
// ever more seldom, the row says why, and all is well once it is cured.
func TestCrashLoop(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	dir := t.TempDir()
	frpc := filepath.Join(dir, "frpc")
	put := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(frpc+".new", content, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(frpc+".new", frpc); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(frptest.Path(t, "frpc", frptest.Version))
	if err != nil {
		t.Fatal(err)
	}
	put(good)
	config := join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t))
	server := p.server(serverDir, func(o *supervisor.ConnectOptions) {
		config(o)
		o.FRPC = frpc
	})
	row := server.up("web")
	starts := filepath.Join(dir, "starts")
	put([]byte("#!/bin/sh\necho x >>" + starts + "\necho 'out of luck' >&2\nexit 1\n"))
	began := time.Now()
	server.kill("frpc")
	server.row("web", "down for its frpc", func(m tables.Mapping) bool {
		return m.State == tables.Down && strings.HasPrefix(m.Reason, "frpc does not run: ") && strings.Contains(m.Reason, "out of luck")
	})
	proxy.row("web", "down", func(m tables.Mapping) bool { return m.State == tables.Down && m.Reason != "" })
	count := func() int {
		b, _ := os.ReadFile(starts)
		return bytes.Count(b, []byte("x"))
	}
	for limit := time.After(patience); count() < 3; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-limit:
			t.Fatalf("tried %d times in %v", count(), patience)
		}
	}
	if took := time.Since(began); count() > 4+int(took/time.Second) {
		t.Errorf("tried %d times in %v", count(), took)
	}
	put(good)
	cured := time.Now()
	if now := again(cured, "web", server, proxy); now.Public() != row.Public() {
		t.Errorf("was %v, is %v", row.Public(), now.Public())
	}
}

// TestStopped is F5: a child that hangs is as good as dead. It is found out,
// replaced, and the mapping is back on its port.
func TestStopped(t *testing.T) {
	for _, name := range []string{"frpc", "frps"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxyDir, serverDir := dirs(t)
			p := newPlace(t)
			proxy := p.proxy(proxyDir)
			server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t)))
			row := server.up("web")
			of := map[string]*role{"frpc": server, "frps": proxy}[name]
			old, stopped := of.pid(name), time.Now()
			if err := syscall.Kill(old, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			server.row("web", "not up", func(m tables.Mapping) bool { return m.State != tables.Up && m.Reason != "" })
			t.Logf("seen after %v", time.Since(stopped).Round(100*time.Millisecond))
			now := again(stopped, "web", server)
			t.Logf("proved again after %v", time.Since(stopped).Round(100*time.Millisecond))
			if now.Public() != row.Public() || get(t, now.Public(), "/") != "hello" {
				t.Errorf("was %v, is %v", row.Public(), now.Public())
			}
			if of.pid(name) == old {
				t.Errorf("%s was not replaced", name)
			}
		})
	}
}

// TestStaleRunFile is F13: the run file of before names a process that is
// somebody else's by now. It is left alone.
func TestStaleRunFile(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	service := web(t)
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, service))
	server.up("web")
	for _, r := range []*role{server, proxy} {
		if err := r.end(supervisor.ErrLeave); err != nil {
			t.Fatal(err)
		}
	}
	foreign := exec.Command("sleep", "600")
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = foreign.Wait()
	}()
	defer func() { _ = foreign.Process.Kill(); <-ended }()
	for name, r := range map[string]*role{"frps": proxy, "frpc": server} {
		old := r.pid(name)
		r.kill(name)
		file := filepath.Join(r.dir, "private", name+".run")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid := func(n int) []byte { return fmt.Appendf(nil, `"pid":%d,`, n) }
		tampered := bytes.Replace(b, pid(old), pid(foreign.Process.Pid), 1)
		if bytes.Equal(tampered, b) {
			tampered = bytes.Replace(b, fmt.Appendf(nil, `"pid": %d,`, old), pid(foreign.Process.Pid), 1)
		}
		if bytes.Equal(tampered, b) {
			t.Fatalf("no pid in %s: %s", file, b)
		}
		if err := os.WriteFile(file, tampered, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	proxy = p.proxy(proxyDir)
	if await[supervisor.ProxyReady](proxy).Adopted {
		t.Error("a foreign process was adopted")
	}
	back := time.Now()
	server = p.server(serverDir, func(o *supervisor.ConnectOptions) { o.Maps = []supervisor.Map{service} })
	again(back, "web", server)
	for _, r := range []*role{server, proxy} {
		if err := r.end(nil); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-ended:
		t.Errorf("the foreign process was ended: %v", foreign.ProcessState)
	default:
	}
}

// TestPortStolen is F14: somebody on the reverse proxy's host takes a reserved
// port while nobody holds it. The mapping moves to another port, and the row is
// true all the time.
func TestPortStolen(t *testing.T) {
	t.Run("while all are away", func(t *testing.T) {
		proxyDir, serverDir := dirs(t)
		p := newPlace(t)
		proxy := p.proxy(proxyDir)
		service := web(t)
		server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, service))
		row := server.up("web")
		for _, r := range []*role{server, proxy} {
			if err := r.end(nil); err != nil {
				t.Fatal(err)
			}
		}
		thief, err := net.Listen("tcp4", row.Public().String())
		if err != nil {
			t.Fatal(err)
		}
		defer thief.Close()
		proxy = p.proxy(proxyDir)
		await[supervisor.ProxyReady](proxy)
		server = p.server(serverDir, func(o *supervisor.ConnectOptions) { o.Maps = []supervisor.Map{service} })
		moved(t, row, server, proxy)
	})
	t.Run("while frpc is replaced", func(t *testing.T) {
		proxyDir, serverDir := dirs(t)
		p := newPlace(t)
		proxy := p.proxy(proxyDir)
		server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t)))
		row := server.up("web")
		stolen := make(chan net.Listener)
		go func() { // in the milliseconds between frps letting go and p2prc taking it
			for {
				if ln, err := net.Listen("tcp4", row.Public().String()); err == nil {
					stolen <- ln
					return
				}
			}
		}()
		for tries := 1; ; tries++ {
			killed := time.Now()
			server.kill("frpc")
			select {
			case thief := <-stolen:
				t.Logf("stolen at try %d", tries)
				defer thief.Close()
				moved(t, row, server, proxy)
				return
			case <-time.After(500 * time.Millisecond):
				again(killed, "web", server) // nobody was quick enough
			}
		}
	})
}

// moved waits until the mapping works at another port than it had.
func moved(t *testing.T, old tables.Mapping, roles ...*role) {
	t.Helper()
	for _, r := range roles {
		now := r.row("web", "up elsewhere", func(m tables.Mapping) bool {
			return m.State == tables.Up && m.Public() != old.Public()
		})
		if got := get(t, now.Public(), "/"); got != "hello" {
			t.Errorf("%v says %q", now.Public(), got)
		}
	}
}
