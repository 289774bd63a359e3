package admin_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/admin"
	"p2prc/admin/admintest"
	"p2prc/admin/frptest"
	"p2prc/frpconf"
)

var update = flag.Bool("update", false, "record the answers of frp anew")

func recording(version, name string) string {
	return filepath.Join("..", "testdata", "frp", version, name)
}

// The recordings are what frp says today: each is made again and compared.
// -update replaces them.
func TestRecordings_areWhatFRPSays(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		for name, got := range record(t, version) {
			file := recording(version, name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-recorded +now):\n%s", name, diff)
			}
		}
	})
}

// record runs through a mapping's life and keeps every answer, with all that
// differs from run to run written as something fixed.
func record(t *testing.T, version string) map[string]string {
	open, openUDP, foreign := frptest.Port(t), frptest.Port(t), frptest.Port(t)
	rp := newReverseProxy(t, version, func(s *frpconf.Server) { s.Allow = only(open, openUDP, foreign) })
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, foreign)))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	local := netip.AddrPortFrom(loopback, frptest.Port(t))
	web, dns, stolen := tcp("node.web", local, open), tcp("node.dns", local, openUDP), tcp("node.stolen", local, foreign)
	dns.Type = "udp"
	web.Metadatas = map[string]string{"lease": "l1"}
	s := rp.newServer(web, dns, stolen)
	s.verdict()

	fixed := strings.NewReplacer(
		fmt.Sprint(rp.conf.BindPort), "7000", fmt.Sprint(local.Port()), "8000",
		fmt.Sprint(open), "20001", fmt.Sprint(openUDP), "20002", fmt.Sprint(foreign), "20003",
	)
	got := make(map[string]string)
	ask := func(name string, at frpconf.Web, method, path string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at.Addr.String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(at.User, string(at.Password))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d\n%s\n\n%s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
		got[name] = scrub(fixed.Replace(text))
	}
	server, client := rp.conf.Admin, s.conf.Admin
	ask("frps-info.http", server, http.MethodGet, "/api/serverinfo")
	ask("frps-proxies.http", server, http.MethodGet, "/api/proxy/tcp")
	ask("frps-proxies-udp.http", server, http.MethodGet, "/api/proxy/udp")
	ask("frps-proxy.http", server, http.MethodGet, "/api/proxy/tcp/node.web")
	ask("frps-proxy-unknown.http", server, http.MethodGet, "/api/proxy/tcp/node.other")
	ask("frpc-status.http", client, http.MethodGet, "/api/status")
	ask("frpc-reload.http", client, http.MethodGet, "/api/reload?strictConfig=true")
	wrong := client
	wrong.Password = "guessed"
	ask("wrong-password.http", wrong, http.MethodGet, "/api/status")

	s.reload(dns)
	await(t, "the proxy to go offline", func() bool {
		p, err := rp.Proxy(t.Context(), "tcp", "node.web")
		return err == nil && !p.Online
	})
	ask("frps-proxy-offline.http", server, http.MethodGet, "/api/proxy/tcp/node.web")
	if err := os.WriteFile(s.proc.Config, []byte(encode(t, s.conf)+"\nnonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask("frpc-reload-refused.http", client, http.MethodGet, "/api/reload?strictConfig=true")
	rp.proc.Kill()
	await(t, "frpc to notice", func() bool {
		status, err := s.Status(t.Context())
		return err == nil && len(status) == 0
	})
	ask("frpc-status-disconnected.http", client, http.MethodGet, "/api/status")
	ask("frpc-stop.http", client, http.MethodPost, "/api/stop")

	rp.mu.Lock()
	defer rp.mu.Unlock()
	for i, g := range rp.asked {
		body := scrub(fixed.Replace(string(rp.bodies[i]))) + "\n"
		switch {
		case g.Login != nil:
			got["gate-login.json"] = body
		case g.NewProxy != nil && g.NewProxy.ProxyName == "node.web":
			got["gate-new-proxy.json"] = body
		case g.CloseProxy != nil && g.CloseProxy.ProxyName == "node.web":
			got["gate-close-proxy.json"] = body
		}
	}
	return got
}

// scrub fixes IDs, times, ports of connections and what is this host's own.
func scrub(s string) string {
	for _, r := range []struct{ pattern, fixed string }{
		{`"(run_id|clientID)":"[0-9a-f]{16}"`, `"$1":"0123456789abcdef"`},
		{`"(lastStartTime|lastCloseTime)":"[^"]+"`, `"$1":"11-22 16:58:57"`},
		{`"privilege_key":"[0-9a-f]{32}"`, `"privilege_key":"0123456789abcdef0123456789abcdef"`},
		{`"timestamp":[0-9]+`, `"timestamp":1795366944`},
		{`"(hostname|os|arch)":"[^"]*"`, `"$1":"x"`},
		{`"client_address":"127\.0\.0\.1:[0-9]+"`, `"client_address":"127.0.0.1:42706"`},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.fixed)
	}
	return s
}

// replay is an endpoint that answers every question with one recording.
func replay(t *testing.T, version, name string) admin.Endpoint {
	t.Helper()
	b, err := os.ReadFile(recording(version, name))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(b), "\n\n")
	var code int
	if _, err := fmt.Sscan(head, &code); err != nil {
		t.Fatal(err)
	}
	return admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, contentType, _ := strings.Cut(head, "\n")
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
}

// Every version's answers mean the same.
func TestRecordings(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		frps := func(name string) *admin.FRPS { return admin.NewFRPS(replay(t, version, name)) }
		frpc := func(name string) *admin.FRPC { return admin.NewFRPC(replay(t, version, name)) }
		check := func(name string, want, got any, err error) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		}
		info, err := frps("frps-info.http").Info(t.Context())
		check("info", admin.ServerInfo{Version: version, BindPort: 7000, Clients: 1}, info, err)

		online := admin.ServerProxy{Name: "node.web", Type: "tcp", Online: true, RemotePort: 20001}
		list, err := frps("frps-proxies.http").Proxies(t.Context(), "tcp")
		check("proxies", []admin.ServerProxy{online}, list, err)
		list, err = frps("frps-proxies-udp.http").Proxies(t.Context(), "udp")
		check("UDP proxies", []admin.ServerProxy{{Name: "node.dns", Type: "udp", Online: true, RemotePort: 20002}}, list, err)
		p, err := frps("frps-proxy.http").Proxy(t.Context(), "tcp", "node.web")
		check("proxy", online, p, err)
		p, err = frps("frps-proxy-offline.http").Proxy(t.Context(), "tcp", "node.web")
		check("offline proxy", admin.ServerProxy{Name: "node.web", Type: "tcp"}, p, err)
		if _, err := frps("frps-proxy-unknown.http").Proxy(t.Context(), "tcp", "node.other"); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("unknown proxy: %v", err)
		}
		if p, err := frps("frps-proxy.http").Proxy(t.Context(), "tcp", "node.other"); !errors.Is(err, admin.ErrNotOurs) {
			t.Errorf("the answer is about another proxy: %v, %v", p, err)
		}

		status, err := frpc("frpc-status.http").Status(t.Context())
		check("status", map[string]admin.Proxy{
			"node.web":    {Name: "node.web", Type: "tcp", Phase: admin.Running, RemotePort: 20001},
			"node.dns":    {Name: "node.dns", Type: "udp", Phase: admin.Running, RemotePort: 20002},
			"node.stolen": {Name: "node.stolen", Type: "tcp", Phase: admin.StartError, Err: "port unavailable"},
		}, status, err)
		status, err = frpc("frpc-status-disconnected.http").Status(t.Context())
		check("status without a session", map[string]admin.Proxy{}, status, err)
		check("reload", nil, nil, frpc("frpc-reload.http").Reload(t.Context()))
		err = frpc("frpc-reload-refused.http").Reload(t.Context())
		if want := `unmarshal ProxyConfig error: json: unknown field "nonsense"`; !errors.Is(err, admin.ErrBadConfig) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("reload of a bad file: %v, want %s", err, want)
		}
		check("stop", nil, nil, frpc("frpc-stop.http").Stop(t.Context()))
		if _, err := frpc("wrong-password.http").Status(t.Context()); !errors.Is(err, admin.ErrNotOurs) {
			t.Errorf("wrong password: %v", err)
		}
	})
}

func TestRecordings_gate(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		read := func(op, name string) admin.GateRequest {
			t.Helper()
			body, err := os.ReadFile(recording(version, name))
			if err != nil {
				t.Fatal(err)
			}
			g, err := admin.ReadGate(question(op, string(body)))
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		metas := map[string]admin.Secret{"credential": "credential of the node"}
		session := admin.Session{Metas: metas, RunID: "0123456789abcdef"}
		for _, test := range []struct {
			op, name string
			want     admin.GateRequest
		}{
			{"Login", "gate-login.json", admin.GateRequest{Login: &admin.Login{
				Version: version, Metas: metas, Client: "127.0.0.1:42706",
			}}},
			{"NewProxy", "gate-new-proxy.json", admin.GateRequest{NewProxy: &admin.NewProxy{
				User: session, ProxyName: "node.web", ProxyType: "tcp", RemotePort: 20001,
				Metas: map[string]string{"lease": "l1"},
			}}},
			{"CloseProxy", "gate-close-proxy.json", admin.GateRequest{CloseProxy: &admin.CloseProxy{
				User: session, ProxyName: "node.web",
			}}},
		} {
			if diff := cmp.Diff(test.want, read(test.op, test.name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.op, diff)
			}
		}
	})
}
