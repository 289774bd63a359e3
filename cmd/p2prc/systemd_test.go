package main

import (
	"errors"
	"net/netip"
	"testing"

	"p2prc/supervisor"
	"p2prc/tables"
)

func TestStatusLine(t *testing.T) {
	own, web := mappingRow("p2prc", tables.TCP, 20017, 20017), mappingRow("web", tables.TCP, 20001, 3000)
	for _, tt := range []struct {
		name   string
		notice supervisor.Notice
		want   string
	}{
		{"proxy", supervisor.ProxyReady{Row: proxyRow(), JoinString: "secret"}, "reverse proxy edge-1 at 203.0.113.7:8088, lends 20000-29999, frps 0.65.0"},
		{"all up", supervisor.Mapped{Rows: []tables.Mapping{own, web}}, "2 of 2 mappings up, reachable at 203.0.113.7:20017"},
		{
			"trouble first",
			supervisor.Mapped{Rows: []tables.Mapping{own, not(web, tables.Waiting, "nothing listens on 127.0.0.1:3000")}},
			"web is waiting: nothing listens on 127.0.0.1:3000; 1 of 2 mappings up, reachable at 203.0.113.7:20017",
		},
		{
			"not up",
			supervisor.Mapped{Rows: []tables.Mapping{not(own, tables.Waiting, "no witness could dial it")}},
			"p2prc is waiting: no witness could dial it; 0 of 1 mappings up",
		},
		{
			"knock",
			supervisor.Knocking{ID: testNode, Proxy: netip.MustParseAddrPort("203.0.113.7:8088")},
			"waiting to be allowed; at the reverse proxy 203.0.113.7:8088, run: p2prc --allow " + string(testNode),
		},
		{
			"out of reach",
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("connection refused")},
			"the reverse proxy 203.0.113.7:8088 is out of reach, trying again: connection refused",
		},
		{"somebody else knocks", supervisor.Knocked{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := new(unit).statusLine(tt.notice); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestStatusLine_twoProxies(t *testing.T) {
	own := mappingRow("p2prc", tables.TCP, 20017, 20017)
	other := own
	other.Address, other.ProxyID = netip.MustParseAddr("198.51.100.4"), testNode
	second := proxyRow()
	second.NodeID = testNode
	u := new(unit)
	for _, tt := range []struct {
		notice supervisor.Notice
		want   string
	}{
		{supervisor.Mapped{Rows: []tables.Mapping{own}, Proxy: proxyRow()}, "1 of 1 mappings up, reachable at 203.0.113.7:20017"},
		{supervisor.Mapped{Rows: []tables.Mapping{other}, Proxy: second}, "2 of 2 mappings up, reachable at 203.0.113.7:20017 198.51.100.4:20017"},
		{
			supervisor.Mapped{Rows: []tables.Mapping{not(own, tables.Down, "gone")}, Proxy: proxyRow()},
			"p2prc is down: gone; 1 of 2 mappings up, reachable at 198.51.100.4:20017",
		},
	} {
		if got := u.statusLine(tt.notice); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
