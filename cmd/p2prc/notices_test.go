package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor"
	"p2prc/tables"
	"p2prc/tables/identity"
)

const (
	testNode  = identity.ID("abcdefghijklmnopqrstuvwxyz234567")
	testProxy = identity.ID("765432zyxwvutsrqponmlkjihgfedcba")
)

func proxyRow() tables.ReverseProxy {
	ms := 38.2
	return tables.ReverseProxy{
		ServerName: "edge-1", Address: netip.MustParseAddr("203.0.113.7"), LatencyMS: &ms, State: tables.Up,
		VerifiedAt: noon.Add(-3 * time.Second), NodePort: 8088, FRPPort: 7000, Ports: tables.PortRange{First: 20000, Last: 29999},
		PortsFree: 9998, Admission: tables.AdmitToken, FRPVersion: "0.65.0", NodeID: testProxy,
	}
}

func mappingRow(name string, proto tables.Protocol, bind, local uint16) tables.Mapping {
	return tables.Mapping{
		ServerName: "pi", Address: netip.MustParseAddr("203.0.113.7"), Type: proto, BindPort: bind, Name: name,
		LocalAddress: netip.AddrPortFrom(loopback, local), State: tables.Up, VerifiedAt: noon.Add(-2 * time.Minute),
		ProvedBy: "pi", NodeID: testNode, ProxyID: testProxy, Node: name == "p2prc",
	}
}

func not(m tables.Mapping, s tables.State, reason string) tables.Mapping {
	m.State, m.Reason = s, reason
	return m
}

func TestNotices(t *testing.T) {
	own := mappingRow("p2prc", tables.TCP, 20017, 20017)
	ssh := mappingRow("ssh", tables.TCP, 22000, 22)
	dns := mappingRow("udp-5353", tables.UDP, 25353, 5353)
	far := mappingRow("far", tables.TCP, 23000, 3000)
	far.ProvedBy = "edge-2"
	moved := ssh
	moved.BindPort = 22001
	noPort := not(mappingRow("web", tables.TCP, 0, 3000), tables.Waiting, "the pool is used up")
	noPort.Address = netip.Addr{}
	early := not(own, tables.Waiting, "reverse proxy does not answer")
	early.BindPort, early.LocalAddress = 0, netip.AddrPort{}
	later := ssh
	later.VerifiedAt, later.LeaseUntil, later.Serial = noon, noon.Add(time.Minute), 7

	ready := supervisor.ProxyReady{
		Row: proxyRow(), JoinString: "p2prc://203.0.113.7:8088#" + string(testProxy) + "/secret", Took: 412345 * time.Microsecond,
		Warnings: []string{"the pool overlaps the ephemeral ports"},
	}
	site := mappingRow("web", tables.HTTP, 80, 3000)
	site.Domain = "app.example.org"
	secure := mappingRow("https-app-example-org", tables.HTTPS, 443, 3443)
	secure.Domain = "app.example.org"
	domains := ready
	domains.Row.HTTPPort, domains.Row.HTTPSPort, domains.Warnings = 80, 443, nil
	open := ready
	open.Open, open.Adopted, open.Warnings = true, true, nil

	many := []tables.Mapping{own}
	for i := range mostLines + 10 {
		many = append(many, mappingRow(fmt.Sprintf("m%02d", i), tables.TCP, 21000+uint16(i), 3000))
	}
	many[len(many)-1] = not(many[len(many)-1], tables.Waiting, "nothing listens on 127.0.0.1:3000")

	for _, tt := range []struct {
		name    string
		prepare func(*printer)
		notices []supervisor.Notice
	}{
		{name: "connect", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{own, ssh, dns, far}, Proxy: proxyRow(), First: true, Took: 912 * time.Millisecond},
		}},
		{name: "connect-not-all-up", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{own, not(ssh, tables.Waiting, "nothing listens on 127.0.0.1:22"), noPort}, Proxy: proxyRow(), First: true, Took: 3 * time.Second},
		}},
		{name: "connect-nothing-yet", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{early}, First: true, Took: 3 * time.Second},
		}},
		{name: "changes", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{own, ssh, dns}, Proxy: proxyRow(), First: true, Took: time.Second},
			supervisor.Mapped{Rows: []tables.Mapping{own, later, dns}, Proxy: proxyRow()},
			supervisor.Mapped{Rows: []tables.Mapping{own, not(ssh, tables.Down, "the tunnel carries no data"), not(dns, tables.Down, "the tunnel carries no data")}, Proxy: proxyRow()},
			supervisor.Mapped{Rows: []tables.Mapping{own, moved}, Proxy: proxyRow()},
		}},
		{name: "many", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: many, Proxy: proxyRow(), First: true, Took: time.Second},
			supervisor.Mapped{Rows: many[:1], Proxy: proxyRow()},
		}},
		{name: "out-of-reach", notices: []supervisor.Notice{
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("connection refused")},
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("connection refused")},
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("no route to host")},
			supervisor.Mapped{Rows: []tables.Mapping{own}, Proxy: proxyRow(), First: true, Took: 12*time.Second + 345*time.Millisecond},
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("no route to host")},
		}},
		{name: "knocking", notices: []supervisor.Notice{
			supervisor.Knocking{ID: testNode, Proxy: netip.MustParseAddrPort("203.0.113.7:8088")},
		}},
		{name: "knocked", prepare: func(p *printer) { p.dirFlag = " --state-dir '/srv/p 2'" }, notices: []supervisor.Notice{
			supervisor.Knocked{ID: testNode, Name: "pi\x1b[31m", From: netip.MustParseAddr("198.51.100.4")},
		}},
		{name: "proxy", notices: []supervisor.Notice{ready, ready}},
		{name: "proxy-domains", notices: []supervisor.Notice{domains}},
		{name: "connect-domains", notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{own, site, not(secure, tables.Waiting, "nothing listens on 127.0.0.1:3443")}, Proxy: domains.Row, First: true, Took: time.Second},
		}},
		{name: "proxy-open", notices: []supervisor.Notice{open}},
		{name: "proxy-state-dir", prepare: func(p *printer) { p.dirFlag = " --state-dir /srv/p2prc" }, notices: []supervisor.Notice{ready}},
		{name: "proxy-journal", prepare: func(p *printer) { p.journal = true }, notices: []supervisor.Notice{ready}},
		{name: "color", prepare: func(p *printer) { p.outColor, p.errColor = true, true }, notices: []supervisor.Notice{
			supervisor.Mapped{Rows: []tables.Mapping{own, not(ssh, tables.Waiting, "no"), not(dns, tables.Down, "no")}, Proxy: proxyRow(), First: true, Took: time.Second},
			supervisor.Retrying{Proxy: "203.0.113.7:8088", Err: errors.New("connection refused")},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, out, stderr := testPrinter()
			if tt.prepare != nil {
				tt.prepare(p)
			}
			var got strings.Builder
			for _, n := range tt.notices {
				p.notice(n)
				fmt.Fprintf(&got, "-- %T: stdout --\n%s-- stderr --\n%s", n, out, stderr)
				out.Reset()
				stderr.Reset()
			}
			golden(t, "notice-"+tt.name+".txt", got.String())
		})
	}
}

func TestNotices_noSecretInTheJournal(t *testing.T) {
	p, out, stderr := testPrinter()
	p.journal = true
	p.notice(supervisor.ProxyReady{Row: proxyRow(), JoinString: "p2prc://203.0.113.7:8088#x/secret"})
	if text := out.String() + stderr.String(); strings.Contains(text, "secret") {
		t.Errorf("the token is in the journal:\n%s", text)
	}
}
