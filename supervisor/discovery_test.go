package supervisor_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2prc/supervisor"
	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// meshed is some reverse proxies that are one mesh.
type meshed struct {
	t     *testing.T
	base  string
	place []*place
	proxy []*role
	join  []string // join strings
}

// newMesh starts n reverse proxies; each but the first joins the one before it.
func newMesh(t *testing.T, n int, change func(i int, o *supervisor.ReverseProxyOptions)) *meshed {
	t.Helper()
	m := &meshed{t: t, base: t.TempDir()}
	for i := range n {
		p := newPlace(t)
		p.o.PrivateAddresses = true
		if i > 0 {
			p.o.Join = []discovery.Seed{{Host: m.place[i-1].host.String(), Port: 8088}}
		}
		if change != nil {
			change(i, &p.o)
		}
		m.place = append(m.place, p)
		m.proxy = append(m.proxy, p.proxy(fmt.Sprintf("%s/rp%d", m.base, i)))
		m.join = append(m.join, await[supervisor.ProxyReady](m.proxy[i]).JoinString)
	}
	return m
}

// server starts a server at the ith proxy.
func (m *meshed) server(i int, name string, maps ...supervisor.Map) *role {
	m.t.Helper()
	with := join(m.t, m.join[i], maps...)
	return m.place[i].server(m.base+"/"+name, func(o *supervisor.ConnectOptions) {
		with(o)
		o.PrivateAddresses = true
	})
}

// proxyRow waits until the row of a reverse proxy is as wanted in the role's table.
func (r *role) proxyRow(at netip.Addr, what string, want func(row tables.ReverseProxy, there bool) bool) {
	r.t.Helper()
	var last []tables.ReverseProxy
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-tick.C {
		v, err := tables.ReadProxies(r.dir, time.Now())
		if err != nil {
			r.t.Fatal(err)
		}
		last = v.Rows
		row, there := tables.ReverseProxy{}, false
		for _, p := range v.Rows {
			if p.Address == at {
				row, there = p, true
			}
		}
		if want(row, there) {
			return
		}
	}
	r.t.Fatalf("%s: reverse proxy %s is never %s: %+v", r.dir, at, what, last)
}

func isUp(row tables.ReverseProxy, there bool) bool {
	return there && row.State == tables.Up && row.LatencyMS != nil
}

// TestDiscovery: everybody's tables fill by themselves, also those of a server
// that knows one proxy only; what goes, goes from all of them.
func TestDiscovery(t *testing.T) {
	m := newMesh(t, 3, nil)
	service := web(t)
	first := m.server(0, "srv-a", service)
	second := m.server(2, "srv-b")
	everybody := append([]*role{first, second}, m.proxy...)
	for _, r := range everybody {
		for i, p := range m.place {
			if i < len(m.proxy) && r == m.proxy[i] {
				continue
			}
			r.proxyRow(p.host, "up and measured", isUp)
		}
		r.rowAt(m.place[0].host, "web", "up", func(row tables.Mapping) bool { return row.State == tables.Up })
		r.rowAt(m.place[2].host, "p2prc", "up", func(row tables.Mapping) bool { return row.State == tables.Up && row.ServerName == "srv-b" })
	}
	ipTable(t, second.dir, first.up("p2prc").Public())
	if got := get(t, second.up("web").Public(), "/"); got != "hello" {
		t.Errorf("by the address in another server's table: %q", got)
	}

	t.Run("down is told", func(t *testing.T) {
		first.kill("frpc")
		second.row("web", "down or back", func(row tables.Mapping) bool { return row.State != tables.Up || row.Serial > 0 })
		second.up("web")
	})
	if err := first.end(nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range everybody[1:] {
		if n := r.gone("web"); n > 0 {
			t.Errorf("%s still shows it after the goodbye", r.dir)
		}
	}
	if err := m.proxy[1].end(nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*role{second, m.proxy[0], m.proxy[2]} {
		r.proxyRow(m.place[1].host, "gone", func(_ tables.ReverseProxy, there bool) bool { return !there })
	}
}

// TestDiscovery_domains: other nodes learn of domains too, see when one does not work,
// and when it is gone. Canaries are nobody else's business.
func TestDiscovery_domains(t *testing.T) {
	m := newMesh(t, 2, func(i int, o *supervisor.ReverseProxyOptions) {
		if i == 0 {
			withDomains(o)
		}
	})
	secure, _ := site(t, "app.example.org", tables.HTTPS)
	flagged := free(t, "flagged")
	flagged.Type, flagged.Domain = tables.HTTP, "flag.example.org"
	ln, err := net.Listen("tcp4", flagged.Local.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	server := m.server(0, "srv", flagged)
	other := m.server(1, "other")
	l := &live{t: t, place: m.place[0], proxy: m.proxy[0], server: server, dir: server.dir}
	server.up(flagged.Name)
	l.mapped(secure)

	others := []*role{m.proxy[1], other}
	isSame := func(name string) {
		t.Helper()
		own := server.up(name)
		for _, r := range others {
			got := r.up(name)
			if got.Type != own.Type || got.Domain != own.Domain || got.Dial() != own.Dial() || got.Public() != own.Public() ||
				got.ServerName != "srv" || got.NodeID != own.NodeID || got.ProxyID != own.ProxyID || got.LeaseID != own.LeaseID {
				t.Errorf("%s shows %+v, of %+v", r.dir, got, own)
			}
		}
	}
	isSame(flagged.Name)
	isSame(secure.Name)
	for _, r := range others {
		r.proxyRow(m.place[0].host, "known to lend domains", func(row tables.ReverseProxy, there bool) bool {
			return there && row.HTTPPort == 8080 && row.HTTPSPort == 8443
		})
		v, err := tables.ReadMappings(r.dir, time.Now())
		if err != nil || slices.ContainsFunc(v.Rows, func(m tables.Mapping) bool { return tables.IsCanaryDomain(m.Domain) }) {
			t.Errorf("%s: %+v, %v", r.dir, v.Rows, err)
		}
	}

	ln.Close()
	for _, r := range others {
		r.row(flagged.Name, "down without its service", func(m tables.Mapping) bool {
			return m.State == tables.Down && m.Reason == "nothing listens on "+flagged.Local.String()
		})
	}
	if ln, err = net.Listen("tcp4", flagged.Local.String()); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	isSame(flagged.Name)

	l.unmap("app.example.org")
	for _, r := range others {
		if left := r.gone(secure.Name); left > 0 {
			t.Errorf("%s: %d rows are left of what was unmapped", r.dir, left)
		}
		r.up(flagged.Name)
	}
	if err := server.end(nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range others {
		if left := r.gone(flagged.Name); left > 0 {
			t.Errorf("%s: %d rows are left of a server that left", r.dir, left)
		}
	}
}

// A way back into the mesh is every proxy that is known: after a restart nobody
// has to be named.
func TestDiscovery_rejoins(t *testing.T) {
	m := newMesh(t, 2, nil)
	for i := range m.proxy {
		m.proxy[i].proxyRow(m.place[1-i].host, "up", isUp)
	}
	if err := m.proxy[1].end(supervisor.ErrLeave); err != nil {
		t.Fatal(err)
	}
	m.place[1].o.Join = nil
	again := m.place[1].proxy(m.base + "/rp1")
	await[supervisor.ProxyReady](again)
	server := m.server(0, "srv", web(t))
	server.up("web")
	again.up("web")
}

// A private mesh lets nobody in who does not know its token.
func TestDiscovery_privateMesh(t *testing.T) {
	token := identity.NewToken()
	m := newMesh(t, 3, func(i int, o *supervisor.ReverseProxyOptions) {
		if i < 2 {
			o.MeshToken = token
		}
	})
	m.proxy[0].proxyRow(m.place[1].host, "up", isUp)
	server := m.server(0, "srv", web(t))
	m.proxy[1].up("web")
	server.proxyRow(m.place[1].host, "up", isUp)
	if v, err := tables.ReadMappings(m.proxy[2].dir, time.Now()); err != nil || len(v.Rows) > 0 {
		t.Errorf("a stranger sees %v, %v", v.Rows, err)
	}
	m.proxy[0].proxyRow(m.place[2].host, "unknown", func(_ tables.ReverseProxy, there bool) bool { return !there })
}
