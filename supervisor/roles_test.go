package supervisor_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/admin/frptest"
	"p2prc/supervisor"
	"p2prc/tables"
	"p2prc/tables/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dirs(t *testing.T) (proxy, server string) {
	t.Helper()
	base, err := os.MkdirTemp("", "p2prc") // short: a unix socket goes in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	return filepath.Join(base, "rp"), filepath.Join(base, "srv")
}

// TestMainJob is the README's promise, on every frp that is supported.
func TestMainJob(t *testing.T) {
	for _, version := range frptest.Versions {
		t.Run(version, func(t *testing.T) {
			proxyDir, serverDir := dirs(t)
			p := newPlace(t)
			p.version = version
			proxy := p.proxy(proxyDir)
			ready := await[supervisor.ProxyReady](proxy)
			if ready.Row.State != tables.Waiting || ready.Row.Reason != "not yet seen from outside" {
				t.Errorf("the proxy says of itself: %s %s", ready.Row.State, ready.Row.Reason)
			}
			server := p.server(serverDir, join(t, ready.JoinString, web(t), echo(t)))
			first := await[supervisor.Mapped](server)
			for _, m := range first.Rows {
				if m.State != tables.Up || m.ProvedBy == "" || m.VerifiedAt.IsZero() || !p.o.Ports.Contains(m.BindPort) {
					t.Errorf("not proved: %+v", m)
				}
			}
			for _, r := range []*role{server, proxy} {
				for _, name := range []string{"p2prc", "web", "echo"} {
					r.up(name)
				}
			}
			if got := get(t, server.up("web").Public(), "/"); got != "hello" {
				t.Errorf("through the proxy: %q", got)
			}
			own := server.up("p2prc")
			if own.LocalAddress.Port() != own.BindPort {
				t.Errorf("own port %d is %d at the proxy", own.LocalAddress.Port(), own.BindPort)
			}
			var info struct {
				Name      string `json:"name"`
				Reachable struct {
					Port uint16 `json:"port"`
				} `json:"reachable"`
			}
			if err := json.Unmarshal([]byte(get(t, own.Public(), "/server_info")), &info); err != nil || info.Name != "srv" || info.Reachable.Port != own.BindPort {
				t.Errorf("server_info: %+v, %v", info, err)
			}
			udpEcho(t, server.up("echo").Public())
			ipTable(t, serverDir, own.Public())

			if err := server.end(nil); err != nil {
				t.Errorf("stopping the server: %v", err)
			}
			if v, err := tables.ReadMappings(proxyDir, time.Now()); err != nil || len(v.Rows) != 0 {
				t.Errorf("rows of a server that said goodbye: %v, %v", v.Rows, err)
			}
			if err := proxy.end(nil); err != nil {
				t.Errorf("stopping the proxy: %v", err)
			}
			for _, f := range []string{proxyDir + "/private/frps.run", serverDir + "/private/frpc.run"} {
				if _, err := os.Stat(f); err == nil {
					t.Errorf("%s is left", f)
				}
			}
		})
	}
}

func udpEcho(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn, err := net.Dial("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 16)
	for range 20 {
		conn.Write([]byte("ping"))
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := conn.Read(buf); err == nil && string(buf[:n]) == "ping" {
			return
		}
	}
	t.Error("the UDP service does not answer through the proxy")
}

// ipTable waits for the server's row in the IP table: it is written right after
// the mappings.
func ipTable(t *testing.T, dir string, own netip.AddrPort) {
	t.Helper()
	var b []byte
	limit := time.Now().Add(patience)
	for tick := time.NewTicker(2 * time.Millisecond); time.Now().Before(limit); <-tick.C {
		var err error
		if b, err = os.ReadFile(filepath.Join(dir, "ip_table.json")); err != nil {
			t.Fatal(err)
		}
		var table struct {
			Rows []struct {
				IPV4, ServerPort, EscapeImplementation string
				NAT, ProxyServer                       bool
				Latency                                int64
			} `json:"ip_address"`
		}
		if err := json.Unmarshal(b, &table); err != nil {
			t.Fatal(err)
		}
		for _, r := range table.Rows {
			if r.NAT && !r.ProxyServer && r.IPV4+":"+r.ServerPort == own.String() && r.EscapeImplementation == "FRP" {
				tick.Stop()
				return
			}
		}
	}
	t.Errorf("the server is not in the IP table: %s", b)
}

// On the proxy's own machine the server cannot serve its port under the number
// that the proxy lends, and must not get in its way either.
func TestPortsStay_onOneMachine(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	here := func(o *supervisor.ConnectOptions) { o.Listen = netip.AddrPortFrom(p.host, 0) }
	with := join(t, await[supervisor.ProxyReady](proxy).JoinString)
	server := p.server(serverDir, func(o *supervisor.ConnectOptions) { with(o); here(o) })
	own := server.up("p2prc")
	if own.LocalAddress == own.Public() {
		t.Fatalf("two listen at %s", own.Public())
	}
	for range 3 {
		if err := server.end(nil); err != nil {
			t.Fatal(err)
		}
		server = p.server(serverDir, here)
		if again := server.up("p2prc"); again.Public() != own.Public() {
			t.Errorf("at %s, was at %s", again.Public(), own.Public())
		}
	}
}

// TestPortsStay: the same node and name get the same port, after restarts of
// everything; an admitted node needs nothing but the address.
func TestPortsStay(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	service := web(t)
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, service))
	own, mapped := server.up("p2prc").Public(), server.up("web").Public()
	for _, r := range []*role{server, proxy} {
		if err := r.end(nil); err != nil {
			t.Fatal(err)
		}
	}
	proxy = p.proxy(proxyDir)
	await[supervisor.ProxyReady](proxy)
	server = p.server(serverDir, func(o *supervisor.ConnectOptions) { o.Maps = []supervisor.Map{service} })
	if got := server.up("p2prc").Public(); got != own {
		t.Errorf("own port was %v, is %v", own, got)
	}
	if got := server.up("web").Public(); got != mapped {
		t.Errorf("mapping was %v, is %v", mapped, got)
	}
}

// TestKilledChildren: frpc and frps come back, proved, on the same port.
func TestKilledChildren(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, web(t)))
	before := server.up("web")
	for _, victim := range []struct {
		of   *role
		name string
	}{{server, "frpc"}, {proxy, "frps"}} {
		old := victim.of.pid(victim.name)
		killed := time.Now()
		victim.of.kill(victim.name)
		again := server.row("web", "proved again", func(m tables.Mapping) bool {
			return m.State == tables.Up && m.VerifiedAt.After(killed) && victim.of.pid(victim.name) != old
		})
		t.Logf("%s killed: proved again after %v", victim.name, time.Since(killed).Round(time.Millisecond))
		if again.Public() != before.Public() {
			t.Errorf("%s: was %v, is %v", victim.name, before.Public(), again.Public())
		}
		if got := get(t, again.Public(), "/"); got != "hello" {
			t.Errorf("%s: %q", victim.name, got)
		}
	}
}

// TestLeave: p2prc goes and comes back, its children and an open connection
// do not notice.
func TestLeave(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	service := supervisor.Map{Name: "talk", Type: tables.TCP, Local: netip.MustParseAddrPort(ln.Addr().String())}
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString, service))
	row := server.up("talk")
	out, err := net.Dial("tcp4", row.Public().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	says := func() {
		t.Helper()
		in.SetDeadline(time.Now().Add(patience))
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	says()
	frps, frpc := proxy.pid("frps"), server.pid("frpc")
	for _, r := range []*role{server, proxy} {
		if err := r.end(supervisor.ErrLeave); err != nil {
			t.Fatal(err)
		}
	}
	says()
	if v, err := tables.ReadMappings(serverDir, time.Now()); err != nil || !v.Left || len(v.Rows) != 2 {
		t.Errorf("the rows of a server that left: %+v, %v", v, err)
	}
	proxy = p.proxy(proxyDir)
	if !await[supervisor.ProxyReady](proxy).Adopted {
		t.Error("frps was not adopted")
	}
	back := time.Now()
	server = p.server(serverDir, func(o *supervisor.ConnectOptions) { o.Maps = []supervisor.Map{service} })
	if got := server.row("talk", "proved again", func(m tables.Mapping) bool {
		return m.State == tables.Up && m.VerifiedAt.After(back)
	}); got.Public() != row.Public() {
		t.Errorf("was %v, is %v", row.Public(), got.Public())
	}
	says()
	if proxy.pid("frps") != frps || server.pid("frpc") != frpc {
		t.Error("a child was replaced")
	}
}

// TestKnock: a node without a token waits until it is allowed, and is shut out
// when it is revoked.
func TestKnock(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	await[supervisor.ProxyReady](proxy)
	server := p.server(serverDir, nil)
	id := await[supervisor.Knocking](server).ID
	if got := await[supervisor.Knocked](proxy); got.ID != id || got.Name != "srv" {
		t.Errorf("the proxy hears %+v", got)
	}
	if err := supervisor.Allow(t.Context(), proxyDir, id); err != nil {
		t.Fatal(err)
	}
	at := server.up("p2prc").Public()
	if err := supervisor.Revoke(t.Context(), proxyDir, id); err != nil {
		t.Fatal(err)
	}
	if f := server.failed(); f.Kind != supervisor.Refused || !strings.Contains(f.Hint, "--allow "+string(id)) {
		t.Errorf("revoked: %v, %v, %q", f.Kind, f, f.Hint)
	}
	if conn, err := net.DialTimeout("tcp4", at.String(), time.Second); err == nil {
		conn.Close()
		t.Error("the tunnel of a revoked node still stands")
	}
}

// TestServiceComesAndGoes: a row says that nothing listens, and turns up by itself.
func TestServiceComesAndGoes(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	proxy := p.proxy(proxyDir)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	server := p.server(serverDir, join(t, await[supervisor.ProxyReady](proxy).JoinString,
		supervisor.Map{Name: "late", Type: tables.TCP, Local: local}))
	missing := func(m tables.Mapping) bool {
		return m.State == tables.Waiting && strings.HasPrefix(m.Reason, "nothing listens on") && strings.HasSuffix(m.Reason, local.String())
	}
	server.row("late", "waiting for its service", missing)
	if ln, err = net.Listen("tcp4", local.String()); err != nil {
		t.Fatal(err)
	}
	server.up("late")
	proxy.up("late")
	ln.Close()
	server.row("late", "waiting again", missing)
	proxy.row("late", "waiting again", missing)
}

func TestRefusals(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	p.o.Ports = tables.PortRange{First: 20000, Last: 20001}
	proxy := p.proxy(proxyDir)
	ready := await[supervisor.ProxyReady](proxy)
	other, err := net.Listen("tcp4", p.host.String()+":9999")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("220 mail\r\n"))
			c.Close()
		}
	}()
	for _, tc := range []struct {
		name   string
		kind   supervisor.Kind
		says   string
		change func(*supervisor.ConnectOptions)
	}{
		{"nobody there", supervisor.ProxyUnreachable, "refused", func(o *supervisor.ConnectOptions) { o.Proxies[0].Port = 8089 }},
		{"not a p2prc", supervisor.ProxyUnreachable, "9999", func(o *supervisor.ConnectOptions) { o.Proxies[0].Port = 9999 }},
		{"no such name", supervisor.ProxyUnreachable, "nowhere.invalid", func(o *supervisor.ConnectOptions) { o.Proxies[0].Host = "nowhere.invalid" }},
		{"wrong token", supervisor.Refused, "token", func(o *supervisor.ConnectOptions) { o.Proxies[0].Token = identity.NewToken() }},
		{"wrong pin", supervisor.Refused, "identity", func(o *supervisor.ConnectOptions) { o.Proxies[0].Pin = identity.NewKey().ID() }},
		{"knock without waiting", supervisor.Refused, "does not know", func(o *supervisor.ConnectOptions) { o.NoWait = true }},
		{"port outside the pool", supervisor.NoPort, "40000", func(o *supervisor.ConnectOptions) {
			join(t, ready.JoinString, supervisor.Map{Name: "x", Type: tables.TCP, Local: netip.MustParseAddrPort("127.0.0.1:1"), Remote: 40000})(o)
		}},
		{"pool full", supervisor.NoPort, "no free", func(o *supervisor.ConnectOptions) {
			local := netip.MustParseAddrPort("127.0.0.1:1")
			join(t, ready.JoinString,
				supervisor.Map{Name: "a", Type: tables.TCP, Local: local}, supervisor.Map{Name: "b", Type: tables.TCP, Local: local})(o)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			f := p.server(filepath.Join(serverDir, strings.ReplaceAll(tc.name, " ", "-")), tc.change).failed()
			if f.Kind != tc.kind || !strings.Contains(f.Error(), tc.says) || strings.Contains(f.Error(), "goroutine") {
				t.Errorf("kind %d: %v", f.Kind, f)
			}
			if tc.kind == supervisor.ProxyUnreachable && time.Since(began) > 5*time.Second {
				t.Errorf("it took %v", time.Since(began))
			}
		})
	}
}

// TestFRPSPortTaken: what cannot start ends in a clear error, not in a loop.
func TestFRPSPortTaken(t *testing.T) {
	proxyDir, _ := dirs(t)
	p := newPlace(t)
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(p.host, p.o.FRPPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := p.proxy(proxyDir).failed()
	if f.Kind != supervisor.ChildDying || !strings.Contains(f.Hint, "--frp-port") {
		t.Errorf("kind %d: %v, %q", f.Kind, f, f.Hint)
	}
}
