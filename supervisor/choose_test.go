package supervisor_test

import (
	"testing"
	"time"

	"p2prc/supervisor"
	"p2prc/supervisor/discovery"
	"p2prc/tables"
)

// TestAuto: a server that knows one node only finds two proxies that would let it
// in, and another one when one of them goes.
func TestAuto(t *testing.T) {
	m := newMesh(t, 4, func(i int, o *supervisor.ReverseProxyOptions) { o.Open = i > 0 })
	for _, p := range m.place[1:] {
		m.proxy[0].proxyRow(p.host, "up", isUp)
	}
	dir := m.base + "/srv"
	o := supervisor.PeersOptions{Dir: dir, Log: testLog(t), PrivateAddresses: true}
	if err := supervisor.AddServer(t.Context(), o, discovery.Seed{Host: m.place[0].host.String(), Port: 8088}); err != nil {
		t.Fatal(err)
	}
	v, err := tables.ReadProxies(dir, time.Now())
	if err != nil || len(v.Rows) != 4 {
		t.Fatalf("after --add-server: %d proxies, %v", len(v.Rows), err)
	}
	for _, row := range v.Rows {
		if row.State != tables.Up || row.LatencyMS == nil {
			t.Errorf("not dialled: %+v", row)
		}
	}
	server := m.place[0].server(dir, func(o *supervisor.ConnectOptions) {
		o.Proxies, o.Auto, o.Maps, o.PrivateAddresses = nil, true, []supervisor.Map{web(t)}, true
	})
	for range 2 {
		if c := await[supervisor.Chosen](server); c.Name == "rp0" || c.Why != "it is open to all" {
			t.Errorf("chosen: %+v", c)
		}
	}
	active := server.row("web", "up and active", func(row tables.Mapping) bool { return row.State == tables.Up && !row.Standby })
	standby := server.row("web", "standing by", func(row tables.Mapping) bool { return row.State == tables.Up && row.Standby })
	if active.Address == standby.Address || active.BindPort != standby.BindPort {
		t.Errorf("active at %s, standing by at %s", active.Public(), standby.Public())
	}
	if got := get(t, standby.Public(), "/"); got != "hello" {
		t.Errorf("the standby answers %q", got)
	}
}

// Without a node that could be asked there is nothing to choose from.
func TestAuto_nobodyKnown(t *testing.T) {
	_, dir := dirs(t)
	f := newPlace(t).server(dir, func(o *supervisor.ConnectOptions) { o.Proxies, o.Auto = nil, true }).failed()
	if f.Kind != supervisor.ProxyUnreachable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
}
