package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"p2prc/tables"
)

func TestListen(t *testing.T) {
	for _, tt := range []struct {
		text string
		want listen
		err  string
	}{
		{text: ":8088", want: listen{port: 8088, set: true}},
		{text: "0.0.0.0:8088", want: listen{host: netip.IPv4Unspecified(), port: 8088, set: true}},
		{text: "192.0.2.1:0", want: listen{host: netip.MustParseAddr("192.0.2.1"), set: true}},
		{text: "8088", err: `"8088" lacks an address or a port`},
		{text: "", err: `"" lacks an address or a port`},
		{text: "host:1", err: `"host" is not an IPv4 address`},
		{text: "1.2.3.4:", err: `"" is not a port number`},
		{text: "1.2.3.4:65536", err: "port 65536 is outside 1-65535"},
		{text: "[::]:8088", err: "IPv6"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			var got listen
			err := got.UnmarshalText([]byte(tt.text))
			if got != tt.want || (err != nil) != (tt.err != "") || !strings.Contains(fmt.Sprint(err), tt.err) {
				t.Errorf("%q: %+v, %v; want %+v, %q", tt.text, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestIPv4(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.7":     "",
		"::1":             "IPv6",
		"::ffff:1.2.3.4":  "IPv6",
		"0.0.0.0":         "not the address of a host",
		"255.255.255.255": "not the address of a host",
		"224.0.0.1":       "not the address of a host",
		"1.2.3":           "not an IPv4 address",
		"01.2.3.4":        "not an IPv4 address",
		"1.2.3.4:80":      "not an IPv4 address",
		"":                "not an IPv4 address",
	} {
		t.Run(text, func(t *testing.T) {
			var got ipv4
			err := got.UnmarshalText([]byte(text))
			if (err != nil) != (want != "") || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%q: %v, want %q", text, err, want)
			}
		})
	}
}

func TestParse_values(t *testing.T) {
	cli, err := parseWith(t, nil, "-s", "--reverse-proxy", "--public-address=203.0.113.7", "--frp-port=7001", "--ports=25000-25009", "--name=edge-1", "--open")
	if err != nil {
		t.Fatal(err)
	}
	f := cli.Flags
	if f.PublicAddress.String() != "203.0.113.7" || f.FRPPort != 7001 || tables.PortRange(f.Ports) != (tables.PortRange{First: 25000, Last: 25009}) ||
		cli.Name != "edge-1" || !f.Open || f.listenPort() != 8088 {
		t.Errorf("got %+v", cli)
	}
}

func TestParse_defaults(t *testing.T) {
	cli, err := parseWith(t, nil, "-s", "--reverse-proxy")
	if err != nil {
		t.Fatal(err)
	}
	f := cli.Flags
	if f.FRPPort != 7000 || tables.PortRange(f.Ports) != (tables.PortRange{First: 20000, Last: 29999}) || f.listenPort() != 8088 ||
		f.PublicAddress.IsValid() || f.Listen.host.IsValid() || cli.FRPS != "frps" || cli.FRPC != "frpc" || cli.LogLevel != "warn" {
		t.Errorf("got %+v", cli)
	}
	if cli, err = parseWith(t, nil, "-s", "--connect-reverse-proxy=proxy.example"); err != nil {
		t.Fatal(err)
	}
	if up := cli.Flags.ConnectReverseProxy[0]; up.Host != "proxy.example" || up.Port != 8088 || up.Pin != "" || !up.Token.Zero() {
		t.Errorf("got %+v", up)
	}
	if got := cli.Flags.Listen.addrPort(); got != (netip.AddrPort{}) {
		t.Errorf("a server listens on %v, and should be left to choose", got)
	}
}
