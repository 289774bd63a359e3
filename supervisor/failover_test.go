package supervisor_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"p2prc/supervisor"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// pair is a server with two reverse proxies, each with an address of its own.
type pair struct {
	t      *testing.T
	dirs   [2]string
	places [2]*place
	proxy  [2]*role
	server *role
}

// newPair returns once both proxies carry the server's mappings.
func newPair(t *testing.T, maps ...supervisor.Map) *pair {
	t.Helper()
	return newPairOf(t, func(int, *supervisor.ReverseProxyOptions) {}, maps...)
}

// newPairOf is newPair with proxies that differ.
func newPairOf(t *testing.T, change func(i int, o *supervisor.ReverseProxyOptions), maps ...supervisor.Map) *pair {
	t.Helper()
	p := &pair{t: t}
	base := t.TempDir()
	var ups []supervisor.Upstream
	for i, name := range []string{"first", "second"} {
		p.dirs[i] = base + "/" + name
		p.places[i] = newPlace(t)
		change(i, &p.places[i].o)
		p.proxy[i] = p.places[i].proxy(p.dirs[i])
		j, err := identity.ParseJoin(await[supervisor.ProxyReady](p.proxy[i]).JoinString)
		if err != nil {
			t.Fatal(err)
		}
		ups = append(ups, supervisor.Upstream{Host: j.Host, Port: j.Port, Pin: j.Pin, Token: j.Token})
	}
	p.server = p.places[0].server(base+"/srv", func(o *supervisor.ConnectOptions) {
		o.Proxies, o.Maps, o.SwitchBack = ups, maps, time.Second
	})
	return p
}

// is waits for the row of a mapping at one of the proxies, in the server's table.
func (p *pair) is(i int, name string, state tables.State, standby bool) tables.Mapping {
	p.t.Helper()
	what := string(state)
	if standby {
		what += ", standing by"
	}
	return p.server.rowAt(p.places[i].host, name, what, func(m tables.Mapping) bool {
		return m.State == state && m.Standby == standby
	})
}

// die ends a proxy as if its host had gone: nothing says goodbye.
func (p *pair) die(i int) {
	p.t.Helper()
	pid := p.proxy[i].pid("frps")
	if err := p.proxy[i].end(supervisor.ErrLeave); err != nil {
		p.t.Fatal(err)
	}
	frps, err := os.FindProcess(pid)
	if err == nil {
		err = frps.Kill()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestFailover: the second proxy carries everything before it is needed, takes
// over when the first is gone, and hands back once that works again.
func TestFailover(t *testing.T) {
	p := newPair(t, web(t), echo(t))
	for _, name := range []string{"p2prc", "web", "echo"} {
		active, standby := p.is(0, name, tables.Up, false), p.is(1, name, tables.Up, true)
		if active.BindPort != standby.BindPort {
			t.Errorf("%s: port %d, and %d at the one that stands by", name, active.BindPort, standby.BindPort)
		}
	}
	first, second := p.is(0, "web", tables.Up, false).Public(), p.is(1, "web", tables.Up, true).Public()
	for _, at := range []netip.AddrPort{first, second} {
		if got := get(t, at, "/"); got != "hello" {
			t.Errorf("%s answers %q", at, got)
		}
	}
	ipTable(t, p.server.dir, p.is(0, "p2prc", tables.Up, false).Public())
	p.proxy[1].row("web", "standing by at the proxy too", func(m tables.Mapping) bool { return m.State == tables.Up && m.Standby })

	p.die(0)
	p.is(1, "web", tables.Up, false)
	p.is(0, "web", tables.Down, true)
	if got := get(t, second, "/"); got != "hello" {
		t.Errorf("%s answers %q", second, got)
	}
	ipTable(t, p.server.dir, p.is(1, "p2prc", tables.Up, false).Public())

	p.proxy[0] = p.places[0].proxy(p.dirs[0])
	if m := p.is(0, "web", tables.Up, false); m.Public() != first {
		t.Errorf("back at %s, was at %s", m.Public(), first)
	}
	p.is(1, "web", tables.Up, true)

	if err := p.server.end(nil); err != nil {
		t.Error(err)
	}
	for i := range p.proxy {
		if n := p.proxy[i].gone("web"); n > 0 {
			t.Errorf("proxy %d still shows %d mappings after the goodbye", i+1, n)
		}
	}
}

// A proxy that is not there, or does not want this node, keeps nobody from the
// other one.
func TestFailover_onlyOneThere(t *testing.T) {
	proxyDir, serverDir := dirs(t)
	p := newPlace(t)
	j, err := identity.ParseJoin(await[supervisor.ProxyReady](p.proxy(proxyDir)).JoinString)
	if err != nil {
		t.Fatal(err)
	}
	server := p.server(serverDir, func(o *supervisor.ConnectOptions) {
		o.Proxies = []supervisor.Upstream{
			{Host: p.host.String(), Port: 9999}, // nobody there
			{Host: j.Host, Port: j.Port, Token: identity.NewToken()},
			{Host: j.Host, Port: j.Port, Pin: j.Pin, Token: j.Token},
		}
		o.Maps = []supervisor.Map{web(t)}
	})
	if m := server.up("web"); m.Standby {
		t.Errorf("the only one that works stands by: %+v", m)
	}
}
