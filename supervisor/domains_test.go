package supervisor_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor"
	"p2prc/tables"
)

// withDomains lends domains on ports that need no privilege.
func withDomains(o *supervisor.ReverseProxyOptions) { o.HTTPPort, o.HTTPSPort = 8080, 8443 }

// withUsualPorts lends them on 80 and 443 where this process may listen there:
// frp speaks of these two in another way.
func withUsualPorts(o *supervisor.ReverseProxyOptions) {
	withDomains(o)
	if ln, err := net.Listen("tcp4", netip.AddrPortFrom(o.ListenHost, 80).String()); err == nil {
		ln.Close()
		o.HTTPPort, o.HTTPSPort = 80, 443
	}
}

// site is a web service with a domain. It says its name, and counts whoever
// asks for anything.
func site(t *testing.T, domain string, proto tables.Protocol) (m supervisor.Map, asked chan string) {
	t.Helper()
	asked = make(chan string, 64)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host + r.URL.Path
		fmt.Fprint(w, "this is "+domain)
	}))
	if proto == tables.HTTPS {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	name := strings.ReplaceAll(domain, ".", "-") + "-" + proto.FRP()
	return supervisor.Map{Name: name, Type: proto, Domain: domain, Local: netip.MustParseAddrPort(srv.Listener.Addr().String())}, asked
}

// visit asks for the domain at the address, as a browser that the DNS led there.
func visit(t *testing.T, at netip.AddrPort, domain string, secure bool) (status int, body string) {
	t.Helper()
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: domain},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at.String())
		},
	}}
	resp, err := c.Get(scheme + domain + "/")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// TestDomains: two services share the proxy's HTTP port, and two its HTTPS port;
// each stranger gets to the right one, with every frp.
func TestDomains(t *testing.T) {
	for _, version := range frptest.Versions {
		for name, lend := range map[string]func(*supervisor.ReverseProxyOptions){"": withDomains, ", usual ports": withUsualPorts} {
			t.Run(version+name, func(t *testing.T) { domains(t, version, lend) })
		}
	}
}

func domains(t *testing.T, version string, lend func(*supervisor.ReverseProxyOptions)) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	p.version = version
	lend(&p.o)
	proxy := p.proxy(proxyDir)
	l := &live{t: t, place: p, proxy: proxy, dir: serverDir}
	flagged, _ := site(t, "flag.example.org", tables.HTTP)
	l.start(join(t, await[supervisor.ProxyReady](proxy).JoinString, flagged))
	app, asked := site(t, "app.example.org", tables.HTTP)
	tlsApp, tlsAsked := site(t, "app.example.org", tables.HTTPS)
	other, _ := site(t, "other.example.org", tables.HTTPS)
	rows := l.mapped(app, tlsApp, other)
	if got := rows[0].Dial(); got != fmt.Sprint("app.example.org:", p.o.HTTPPort) || rows[1].Dial() != fmt.Sprint("app.example.org:", p.o.HTTPSPort) {
		t.Errorf("dial %s and %s", got, rows[1].Dial())
	}
	if len(asked)+len(tlsAsked) > 0 {
		t.Errorf("the proof reached the services: %d and %d requests", len(asked), len(tlsAsked))
	}
	http, https := netip.AddrPortFrom(p.host, p.o.HTTPPort), netip.AddrPortFrom(p.host, p.o.HTTPSPort)
	for _, want := range []struct {
		at     netip.AddrPort
		domain string
	}{{http, "flag.example.org"}, {http, "app.example.org"}, {https, "app.example.org"}, {https, "other.example.org"}} {
		if status, got := visit(t, want.at, want.domain, want.at == https); status != 200 || got != "this is "+want.domain {
			t.Errorf("%s at %s: %d %q", want.domain, want.at, status, got)
		}
	}
	if status, _ := visit(t, http, "nobody.example.org", false); status != 404 {
		t.Errorf("an unknown domain: %d", status)
	}
	row := l.server.up(app.Name)
	if row.Type != tables.HTTP || row.Domain != app.Domain || row.BindPort != p.o.HTTPPort || row.Address != p.host || row.ProvedBy != "srv" {
		t.Errorf("row %+v", row)
	}
	at := l.proxy.up(tlsApp.Name)
	if at.Type != tables.HTTPS || at.Domain != tlsApp.Domain || at.BindPort != p.o.HTTPSPort {
		t.Errorf("row at the proxy %+v", at)
	}
}

// TestDomains_owner: a domain is its first node's, lent or not, and comes back to
// it.
func TestDomains_owner(t *testing.T) {
	l := newLive(t, withDomains)
	app, _ := site(t, "app.example.org", tables.HTTP)
	l.mapped(app)

	bob := &live{t: t, place: l.place, proxy: l.proxy, dir: t.TempDir()}
	text, err := supervisor.JoinString(t.Context(), l.proxy.dir)
	if err != nil {
		t.Fatal(err)
	}
	bob.start(join(t, text))
	his, _ := site(t, app.Domain, tables.HTTP)
	taken := func(when string) {
		t.Helper()
		_, err := bob.try(t.Context(), request(his))
		if kind(err) != supervisor.Refused || !strings.Contains(err.Error(), "the domain app.example.org belongs to another node at this reverse proxy") {
			t.Errorf("%s: %v", when, err)
		}
	}
	taken("while it is mapped")
	bob.has()

	l.unmap(app.Domain)
	l.has()
	if left := l.proxy.gone(app.Name); left != 0 {
		t.Errorf("%d rows are left at the proxy", left)
	}
	if status, _ := visit(t, netip.AddrPortFrom(l.place.host, 8080), app.Domain, false); status != 404 {
		t.Errorf("after unmap: %d", status)
	}
	taken("once it is unmapped")
	both := his
	both.Type, both.Name = tables.HTTPS, "tls"
	bob.mapped(both) // one owner for each kind

	l.mapped(app)
	if status, got := visit(t, netip.AddrPortFrom(l.place.host, 8080), app.Domain, false); status != 200 {
		t.Errorf("mapped again: %d %s", status, got)
	}

	// A restart of the server, and of the proxy, keeps it.
	if err := l.server.end(nil); err != nil {
		t.Fatal(err)
	}
	taken("while its server is away")
	l.start(nil)
	l.server.up(app.Name)
	if err := l.proxy.end(nil); err != nil {
		t.Fatal(err)
	}
	l.proxy = l.place.proxy(l.proxy.dir)
	bob.proxy = l.proxy
	await[supervisor.ProxyReady](l.proxy)
	since := time.Now()
	l.server.row(app.Name, "up again", func(m tables.Mapping) bool { return m.State == tables.Up && m.VerifiedAt.After(since) })
	if status, got := visit(t, netip.AddrPortFrom(l.place.host, 8080), app.Domain, false); status != 200 {
		t.Errorf("after the restart of the proxy: %d %s", status, got)
	}
	taken("after the restarts")
}

// TestDomains_file: mappings.toml has domains too.
func TestDomains_file(t *testing.T) {
	l := newLive(t, withDomains)
	app, _ := site(t, "app.example.org", tables.HTTP)
	secure, _ := site(t, "app.example.org", tables.HTTPS)
	text := fmt.Sprintf("[[mapping]]\ndomain = \"app.example.org\"\nlocal = %q\n[[mapping]]\nname = \"tls\"\ndomain = \"app.example.org\"\nlocal = %q\nprotocol = \"https\"\n", app.Local, secure.Local)
	if err := os.WriteFile(filepath.Join(l.dir, "mappings.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := supervisor.ReloadLive(t.Context(), l.dir); err != nil || !slices.Equal(got.Added, []string{"http-app-example-org", "tls"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	l.server.up("http-app-example-org")
	l.server.up("tls")
	if status, got := visit(t, netip.AddrPortFrom(l.place.host, 8443), "app.example.org", true); status != 200 {
		t.Errorf("%d %s", status, got)
	}
}

// TestDomains_deaths: frpc and frps may end, and p2prc may leave and come back;
// the domain leads where it led.
func TestDomains_deaths(t *testing.T) {
	app, _ := site(t, "app.example.org", tables.HTTP)
	l := newLive(t, withDomains, app)
	at := netip.AddrPortFrom(l.place.host, 8080)
	works := func(when string) {
		t.Helper()
		if status, got := visit(t, at, app.Domain, false); status != 200 || got != "this is app.example.org" {
			t.Errorf("%s: %d %s", when, status, got)
		}
	}
	again := func(when string) {
		t.Helper()
		since := time.Now()
		l.server.row(app.Name, "up again after "+when, func(m tables.Mapping) bool { return m.State == tables.Up && m.VerifiedAt.After(since) })
		works(when)
	}
	works("at first")
	l.server.kill("frpc")
	again("the end of frpc")
	l.proxy.kill("frps")
	again("the end of frps")
	pid := l.server.pid("frpc")
	if err := l.server.end(supervisor.ErrLeave); err != nil {
		t.Fatal(err)
	}
	works("while p2prc is away")
	l.start(func(o *supervisor.ConnectOptions) { o.Maps = []supervisor.Map{app} })
	l.server.up(app.Name)
	works("after it came back")
	if got := l.server.pid("frpc"); got != pid {
		t.Errorf("frpc is %d, was %d", got, pid)
	}
}

// TestDomains_portTaken: a reverse proxy whose HTTP port is in use says which flag.
func TestDomains_portTaken(t *testing.T) {
	p := newPlace(t)
	withDomains(&p.o)
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(p.host, p.o.HTTPSPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := p.proxy(t.TempDir()).failed()
	if f.Kind != supervisor.ChildDying || !strings.Contains(f.Hint, "port 8443: end it, or pass another --https-port") {
		t.Errorf("%v, %s", f, f.Hint)
	}
}

// TestDomains_notLent: a proxy that was not asked to lends none, and says so.
func TestDomains_notLent(t *testing.T) {
	l := newLive(t, func(o *supervisor.ReverseProxyOptions) { o.HTTPPort = 8080 })
	secure, _ := site(t, "app.example.org", tables.HTTPS)
	_, err := l.try(t.Context(), request(secure))
	if kind(err) != supervisor.Refused || !strings.Contains(err.Error(), "it was started without --https-port") {
		t.Errorf("got %v", err)
	}
	l.has()
	ours := supervisor.Map{Name: "x", Type: tables.HTTP, Local: secure.Local, Domain: "x.p2prc.invalid"}
	if _, err := l.try(t.Context(), request(ours)); kind(err) != supervisor.BadUsage {
		t.Errorf("a domain for proofs: %v", err)
	}
}

// TestDomains_standby: a reverse proxy that stands by and lends no domains is in
// nobody's way, and its rows say why.
func TestDomains_standby(t *testing.T) {
	p := newPairOf(t, func(i int, o *supervisor.ReverseProxyOptions) {
		if i == 0 {
			withDomains(o)
		}
	})
	p.is(0, "p2prc", tables.Up, false)
	p.is(1, "p2prc", tables.Up, true)
	app, _ := site(t, "app.example.org", tables.HTTP)
	l := &live{t: t, dir: p.server.dir}
	rows := l.mapped(app)
	if rows[0].Address != p.places[0].host || rows[0].State != tables.Up {
		t.Errorf("told of %+v", rows[0])
	}
	if m := p.is(1, app.Name, tables.Waiting, true); !strings.Contains(m.Reason, "it was started without --http-port") {
		t.Errorf("%+v", m)
	}
}

// TestDomains_service: the row says when nothing listens, and when it does again.
func TestDomains_service(t *testing.T) {
	m := free(t, "app")
	m.Type, m.Domain = tables.HTTP, "app.example.org"
	l := newLive(t, withDomains, m)
	l.server.row("app", "waiting for its service", func(m tables.Mapping) bool {
		return m.State == tables.Waiting && m.Reason == "nothing listens on "+m.LocalAddress.String()
	})
	ln, err := net.Listen("tcp4", m.Local.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l.server.up("app")
	conn, err := net.Dial("tcp4", netip.AddrPortFrom(l.place.host, 8080).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /hello HTTP/1.1\r\nHost: app.example.org\r\n\r\n")
	got, err := ln.Accept() // the first that reaches it is this one: no proof did
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	got.SetReadDeadline(time.Now().Add(patience))
	if line, err := bufio.NewReader(got).ReadString('\n'); err != nil || line != "GET /hello HTTP/1.1\r\n" {
		t.Errorf("the service reads %q, %v", line, err)
	}
}
