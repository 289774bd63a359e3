package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"p2prc/admin"
	"p2prc/admin/frptest"
	"p2prc/frpconf"
)

// eachVersion runs a test against every frp.
func eachVersion(t *testing.T, test func(t *testing.T, version string)) {
	t.Parallel()
	for _, version := range frptest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

// A mapping as p2prc makes it: through files of frpconf, a gate over HTTPS, and
// a token that must be the same on both ends.
func TestLive_mapping(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		port := frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) { s.Allow = only(port) })
		info, err := rp.WaitReady(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := admin.ServerInfo{Version: version, BindPort: rp.conf.BindPort}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Errorf("info (-want +got):\n%s", diff)
		}

		// These pass frp's template engine and its TOML parser and come out at the gate.
		hostile := "{{ .Envs.HOME }} {{ '\"\\\n[common]\n\té"
		web := tcp("node.web", echo(t), port)
		web.Metadatas = map[string]string{"lease": hostile}
		s := rp.newServerWith(frptest.Spec{Env: []string{"http_proxy=http://127.0.0.1:9"}}, func(c *frpconf.Client) {
			c.Metadatas["hostile"] = frpconf.Secret(hostile)
		}, web)
		got := s.verdict()["node.web"]
		if diff := cmp.Diff(admin.Proxy{Name: "node.web", Type: "tcp", Phase: admin.Running, RemotePort: port}, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		roundTrip(t, port)

		if info, err := rp.Info(t.Context()); err != nil || info.Clients != 1 {
			t.Errorf("info = %+v, %v, want one client", info, err)
		}
		logins := rp.questions(func(g admin.GateRequest) bool { return g.Login != nil })
		if len(logins) != 1 || string(logins[0].Login.Metas["hostile"]) != hostile || logins[0].Login.Version != version {
			t.Errorf("logins = %+v", logins)
		}
		news := rp.questions(func(g admin.GateRequest) bool { return g.NewProxy != nil })
		if len(news) != 1 {
			t.Fatalf("%d proxies came to the gate", len(news))
		}
		p := news[0].NewProxy
		if p.ProxyName != "node.web" || p.ProxyType != "tcp" || p.RemotePort != port || p.Metas["lease"] != hostile ||
			p.User.Metas["credential"] != "credential of the node" || p.User.RunID == "" || !p.Plain() {
			t.Errorf("the gate was asked about %+v", p)
		}

		online := admin.ServerProxy{Name: "node.web", Type: "tcp", Online: true, RemotePort: port}
		checkProxy(t, rp, online)
		if _, err := rp.Proxy(t.Context(), "tcp", "node.other"); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("a proxy that never was: %v", err)
		}
		if _, err := rp.Proxy(t.Context(), "udp", "node.web"); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("a proxy of another type: %v", err)
		}
		if list, err := rp.Proxies(t.Context(), "udp"); err != nil || len(list) != 0 {
			t.Errorf("UDP proxies = %v, %v", list, err)
		}

		s.reload()
		await(t, "the proxy to go offline", func() bool {
			p, err := rp.Proxy(t.Context(), "tcp", "node.web")
			return err == nil && !p.Online
		})
		checkProxy(t, rp, admin.ServerProxy{Name: "node.web", Type: "tcp"})
		await(t, "the gate to hear of it", func() bool {
			return len(rp.questions(func(g admin.GateRequest) bool {
				return g.CloseProxy != nil && g.CloseProxy.ProxyName == "node.web"
			})) == 1
		})

		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if code := s.proc.ExitCode(); code != 0 {
			t.Errorf("frpc stopped with exit code %d", code)
		}
	})
}

// checkProxy compares both ways to ask frps for a proxy.
func checkProxy(t *testing.T, rp *reverseProxy, want admin.ServerProxy) {
	t.Helper()
	got, err := rp.Proxy(t.Context(), want.Type, want.Name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rp.Proxies(t.Context(), want.Type)
	if err != nil {
		t.Fatal(err)
	}
	// When frps counts what flows is its own affair.
	counts := cmpopts.IgnoreFields(admin.ServerProxy{}, "In", "Out", "Conns")
	if diff := cmp.Diff([]admin.ServerProxy{want, want}, append(list, got), counts); diff != "" {
		t.Errorf("frps (-want +got):\n%s", diff)
	}
}

func roundTrip(t *testing.T, port uint16) {
	t.Helper()
	conn, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "ping" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestLive_refusals(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		mine, foreign, private := frptest.Port(t), frptest.Port(t), frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) {
			s.Allow = append(only(mine, foreign), frpconf.Range{First: s.BindPort, Last: s.BindPort})
		})
		rp.setJudge(func(g admin.GateRequest) error {
			if g.NewProxy == nil {
				return nil
			}
			return map[string]error{
				"unleased": errors.New("lease expired (p2prc)"),
				"broken":   errGateBroken,
				"silent":   errNoReason,
			}[g.NewProxy.Metas["judge"]]
		})
		ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, foreign)))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		local := echo(t)
		first := rp.newServer(tcp("node.first", local, mine))
		first.verdict()

		judged := func(judge string) frpconf.Proxy {
			p := tcp("node."+judge, local, private)
			p.Metadatas = map[string]string{"judge": judge}
			return p
		}
		udp := func(p frpconf.Proxy) frpconf.Proxy { p.Type = "udp"; return p }
		udpForeign, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, foreign)))
		if err != nil {
			t.Fatal(err)
		}
		defer udpForeign.Close()
		tests := []struct {
			name  string
			proxy frpconf.Proxy
			kind  error
			text  string
		}{
			{"held by another proxy", tcp("node.a", local, mine), admin.ErrPortUsed, "port already used"},
			{"held by a foreign process", tcp("node.b", local, foreign), admin.ErrPortTaken, "port unavailable"},
			{"frps's own", tcp("node.c", local, rp.conf.BindPort), admin.ErrPortTaken, "port unavailable"},
			{"UDP, foreign", udp(tcp("node.d", local, foreign)), admin.ErrPortTaken, fmt.Sprintf("acquire port %d error: port unavailable", foreign)},
			{"outside the pool", tcp("node.e", local, private), admin.ErrPortNotAllowed, "port not allowed"},
			{"UDP, outside the pool", udp(tcp("node.f", local, private)), admin.ErrPortNotAllowed, fmt.Sprintf("acquire port %d error: port not allowed", private)},
			{"name of another", tcp("node.first", local, foreign), admin.ErrNameTaken, "proxy [node.first] already exists"},
			{"the gate says no", judged("unleased"), admin.ErrRefused, "lease expired (p2prc)"},
			{"the gate is broken", judged("broken"), admin.ErrGateDown, "send NewProxy request to plugin error"},
		}
		second := rp.newServer(tests[0].proxy)
		for i, test := range tests {
			if i > 0 {
				second.reload(test.proxy)
			}
			got := second.verdict()[test.proxy.Name]
			if got.Running() || got.RemotePort != 0 || !errors.Is(got.Refusal(), test.kind) || got.Refusal().Error() != test.text {
				t.Errorf("%s: %+v, refusal %v; want %s", test.name, got, got.Refusal(), test.text)
			}
		}

		// Why Reject never sends an empty reason: frpc takes it for a yes.
		got := second.reload(judged("silent"))["node.silent"]
		if !got.Running() {
			t.Errorf("a no without a reason: %+v; frp has learnt, so Reject could", got)
		}
		if _, err := rp.Proxy(t.Context(), "tcp", "node.silent"); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("frps has opened it: %v", err)
		}
		if p := first.verdict()["node.first"]; !p.Running() {
			t.Errorf("the first server's proxy suffered: %+v", p)
		}
	})
}

func TestLive_quota(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		a, b := frptest.Port(t), frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) {
			s.Allow, s.MaxPortsPerClient = only(a, b), 1
		})
		s := rp.newServer(tcp("node.a", echo(t), a), tcp("node.b", echo(t), b))
		var running, quota int
		for _, p := range s.verdict() {
			switch {
			case p.Running():
				running++
			case errors.Is(p.Refusal(), admin.ErrQuota):
				quota++
			}
		}
		if running != 1 || quota != 1 {
			t.Errorf("%d run, %d over the quota, want 1 and 1", running, quota)
		}
	})
}

// A stolen port: given back by its thief, a changed metadata and a reload get
// it at once, where frpc alone would wait 30 s.
func TestLive_retryByReload(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		port := frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) { s.Allow = only(port) })
		thief, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
		if err != nil {
			t.Fatal(err)
		}
		defer thief.Close()
		web := tcp("node.web", echo(t), port)
		s := rp.newServer(web)
		if got := s.verdict()["node.web"]; !errors.Is(got.Refusal(), admin.ErrPortTaken) {
			t.Fatalf("%+v, want the port taken", got)
		}
		syscall.ForkLock.RLock() // a child that is being started has a copy of it until it runs
		thief.Close()
		syscall.ForkLock.RUnlock()
		start := time.Now()
		web.Metadatas = map[string]string{"try": "2"}
		if got := s.reload(web)["node.web"]; !got.Running() || got.Err != "" {
			t.Errorf("%+v, want it to run", got)
		}
		t.Logf("running again after %v", time.Since(start))
	})
}

func TestLive_badFileChangesNothing(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		port := frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) { s.Allow = only(port) })
		s := rp.newServer(tcp("node.web", echo(t), port))
		s.verdict()
		for name, file := range map[string]string{
			"unknown key": encode(t, s.conf) + "\nnonsense = 1\n",
			"no TOML":     "serverAddr = ",
			"template":    "# {{ .Nope }}",
		} {
			if err := os.WriteFile(s.proc.Config, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			err := s.Reload(t.Context())
			if !errors.Is(err, admin.ErrBadConfig) || strings.Contains(err.Error(), "{\"") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := s.verdict()["node.web"]; !got.Running() {
			t.Errorf("%+v, want it to run on", got)
		}
	})
}

func TestLive_wrongPassword(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		rp := newReverseProxy(t, version)
		s := rp.newServer()
		s.verdict()
		server, client := endpoint(rp.conf.Admin), endpoint(s.conf.Admin)
		server.Password, client.Password = "guessed", "guessed"
		frps, frpc := admin.NewFRPS(server), admin.NewFRPC(client)
		defer frps.Close()
		defer frpc.Close()
		_, info := frps.Info(t.Context())
		_, status := frpc.Status(t.Context())
		for name, err := range map[string]error{
			"info": info, "status": status, "reload": frpc.Reload(t.Context()), "stop": frpc.Stop(t.Context()),
		} {
			if !errors.Is(err, admin.ErrNotOurs) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// An frps on frpc's port, and the other way round, is not believed either.
func TestLive_wrongChild(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		rp := newReverseProxy(t, version)
		s := rp.newServer()
		s.verdict()
		frps, frpc := admin.NewFRPS(endpoint(s.conf.Admin)), admin.NewFRPC(endpoint(rp.conf.Admin))
		defer frps.Close()
		defer frpc.Close()
		_, info := frps.Info(t.Context())
		_, list := frps.Proxies(t.Context(), "tcp")
		_, one := frps.Proxy(t.Context(), "tcp", "node.a")
		_, status := frpc.Status(t.Context())
		for name, err := range map[string]error{
			"info": info, "proxies": list, "proxy": one, "status": status, "reload": frpc.Reload(t.Context()), "stop": frpc.Stop(t.Context()),
		} {
			if !errors.Is(err, admin.ErrNotOurs) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Without a session the status is empty, and a wait ends with its reason.
func TestLive_disconnected(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		port := frptest.Port(t)
		rp := newReverseProxy(t, version, func(s *frpconf.Server) { s.Allow = only(port) })
		s := rp.newServer(tcp("node.web", echo(t), port))
		s.verdict()
		rp.proc.Kill()
		await(t, "frpc to notice", func() bool {
			status, err := s.Status(t.Context())
			return err == nil && len(status) == 0
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err := s.WaitRunning(ctx, []string{"node.web"})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "waiting for frpc's word on 1 of 1 proxies, node.web among them: ") {
			t.Errorf("WaitRunning: %v", err)
		}
		if _, err := rp.Info(t.Context()); !errors.Is(err, admin.ErrUnavailable) {
			t.Errorf("a dead frps: %v", err)
		}
	})
}

func TestLive_loginRefused(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		rp := newReverseProxy(t, version)
		tests := []struct {
			name   string
			judge  error
			change func(*frpconf.Client)
			says   string
		}{
			{"by the gate", errors.New("this node is not admitted (p2prc)"), func(*frpconf.Client) {}, "this node is not admitted (p2prc)"},
			{"by a gate that is broken", errGateBroken, func(*frpconf.Client) {}, "send Login request to plugin error"},
			{"wrong token", nil, func(c *frpconf.Client) { c.Token = "another-token-of-32-bytes" }, "token in login doesn't match"},
			{"another certificate", nil, func(c *frpconf.Client) { c.TrustedCAFile, _ = frptest.Cert(t, "p2prc") }, ""},
			{"another name", nil, func(c *frpconf.Client) { c.ServerName = "other" }, ""},
		}
		for _, test := range tests {
			rp.setJudge(func(admin.GateRequest) error { return test.judge })
			s := rp.newServerWith(frptest.Spec{}, test.change)
			if code := s.proc.ExitCode(); code != 1 {
				t.Errorf("%s: exit code %d, want 1", test.name, code)
			}
			if out := s.proc.Output(); !strings.Contains(out, test.says) || strings.Contains(out, "\x1b") {
				t.Errorf("%s: frpc said %s", test.name, out)
			}
		}
	})
}

// Who takes the gate's port while p2prc is down has another certificate: frps
// says no, and the impostor hears nothing.
func TestLive_impostorAtTheGate(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		rp := newReverseProxy(t, version)
		rp.proc.Kill()
		rp.gateCert, _ = frptest.Cert(t, "gate") // the true one, not that of who listens
		rp.proc = frptest.Start(t, rp.spec())
		s := rp.newServer()
		if code := s.proc.ExitCode(); code != 1 || !strings.Contains(s.proc.Output(), "send Login request to plugin error") {
			t.Errorf("frpc ended with %d: %s", code, s.proc.Output())
		}
		if got := rp.questions(func(admin.GateRequest) bool { return true }); len(got) != 0 {
			t.Errorf("the impostor was asked %+v", got)
		}
	})
}
