package frpconf_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2prc/frpconf"
)

func TestServer_refused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*frpconf.Server)
		want   string
	}{
		{"no port", func(s *frpconf.Server) { s.BindPort = 0 }, "frps has no port to bind"},
		{"no token", func(s *frpconf.Server) { s.Token = "" }, "frps has no token"},
		{"no certificate", func(s *frpconf.Server) { s.CertFile = "" }, "frps has no certificate or no key"},
		{"no key", func(s *frpconf.Server) { s.KeyFile = "" }, "frps has no certificate or no key"},
		{"every port", func(s *frpconf.Server) { s.Allow = nil }, "frps has no ports to give"},
		{"empty range", func(s *frpconf.Server) { s.Allow = []frpconf.Range{{First: 2, Last: 1}} }, "port range 2-1 is none"},
		{"zero range", func(s *frpconf.Server) { s.Allow = []frpconf.Range{{}} }, "port range 0-0 is none"},
		{"one port twice", func(s *frpconf.Server) { s.HTTPPort, s.HTTPSPort = 443, 443 }, "frps is to use port 443 twice"},
		{"login port twice", func(s *frpconf.Server) { s.HTTPPort = 7000 }, "frps is to use port 7000 twice"},
		{"negative limit", func(s *frpconf.Server) { s.MaxPortsPerClient = -1 }, "a client of frps may have -1 ports"},
		{"public admin API", func(s *frpconf.Server) { s.Admin.Addr = netip.MustParseAddrPort("0.0.0.0:7500") }, "the admin API's address is 0.0.0.0:7500, not a port on loopback"},
		{"admin API without port", func(s *frpconf.Server) { s.Admin.Addr = netip.MustParseAddrPort("127.0.0.1:0") }, "the admin API's address is 127.0.0.1:0, not a port on loopback"},
		{"open admin API", func(s *frpconf.Server) { s.Admin.User = "" }, "the admin API has no user or no password"},
		{"open admin API", func(s *frpconf.Server) { s.Admin.Password = "" }, "the admin API has no user or no password"},
		{"colon", func(s *frpconf.Server) { s.Admin.User = "a:b" }, "the admin API's user has a colon"},
		{"NUL", func(s *frpconf.Server) { s.Token = "secret\x00" }, "frps's token holds a NUL byte"},
		{"half a rune", func(s *frpconf.Server) { s.Token = "secret\xc3" }, "frps's token is not UTF-8"},
		{"no keepalive", func(s *frpconf.Server) { s.Keepalive = 0 }, "keepalive is 0s, not whole seconds from 1s to 5m0s"},
		{"part of a second", func(s *frpconf.Server) { s.Keepalive = 1500 * time.Millisecond }, "keepalive is 1.5s, not whole seconds from 1s to 5m0s"},
		{"log level", func(s *frpconf.Server) { s.LogLevel = "loud" }, `log level "loud" is not one of frp's`},
		{"no gate", func(s *frpconf.Server) { s.Gate = frpconf.Gate{} }, "the gate's address is invalid AddrPort, not a port on loopback"},
		{"public gate", func(s *frpconf.Server) { s.Gate.Addr = netip.MustParseAddrPort("203.0.113.7:443") }, "the gate's address is 203.0.113.7:443, not a port on loopback"},
		{"gate without path", func(s *frpconf.Server) { s.Gate.Path = "/" }, "the gate's path is not / and then letters, digits, - and _"},
		{"gate with query", func(s *frpconf.Server) { s.Gate.Path = "/a?b" }, "the gate's path is not / and then letters, digits, - and _"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := exampleServer
			test.change(&s)
			if _, err := s.Encode(); err == nil || err.Error() != test.want {
				t.Errorf("Encode: %v, want %s", err, test.want)
			}
		})
	}
}

func TestClient_refused(t *testing.T) {
	good := frpconf.Proxy{Name: "n.a", Type: "tcp", Local: netip.MustParseAddrPort("127.0.0.1:80"), RemotePort: 20000}
	with := func(change func(*frpconf.Proxy)) func(*frpconf.Client) {
		return func(c *frpconf.Client) {
			p := good
			change(&p)
			c.Proxies = []frpconf.Proxy{good, p}
			if p.Name == good.Name {
				c.Proxies = []frpconf.Proxy{p}
			}
		}
	}
	tests := []struct {
		name   string
		change func(*frpconf.Client)
		want   string
	}{
		{"no address", func(c *frpconf.Client) { c.ServerAddr = "" }, `"" is not the address of a reverse proxy`},
		{"URL", func(c *frpconf.Client) { c.ServerAddr = "http://x" }, `"http://x" is not the address of a reverse proxy`},
		{"no port", func(c *frpconf.Client) { c.ServerPort = 0 }, "frpc has no port to log in at"},
		{"no token", func(c *frpconf.Client) { c.Token = "" }, "frpc has no token"},
		{"no pin", func(c *frpconf.Client) { c.TrustedCAFile = "" }, "frpc has no certificate to check frps by"},
		{"no name", func(c *frpconf.Client) { c.ServerName = "" }, `"" is not a name in a certificate`},
		{"public admin API", func(c *frpconf.Client) { c.Admin.Addr = netip.MustParseAddrPort("192.0.2.1:1") }, "the admin API's address is 192.0.2.1:1, not a port on loopback"},
		{"keepalive", func(c *frpconf.Client) { c.Keepalive = time.Hour }, "keepalive is 1h0m0s, not whole seconds from 1s to 5m0s"},
		{"metadata key", func(c *frpconf.Client) { c.Metadatas = map[string]frpconf.Secret{"a b": ""} }, `login: "a b" is not a key of metadata`},
		{"metadata value", func(c *frpconf.Client) { c.Metadatas = map[string]frpconf.Secret{"a": "secret\xff"} }, "login: metadata a is not UTF-8"},
		{"much metadata", func(c *frpconf.Client) {
			c.Metadatas = map[string]frpconf.Secret{"a": frpconf.Secret(strings.Repeat("x", 4096))}
		}, "login: 4097 bytes of metadata, at most 4096 are allowed"},
		{"slash", with(func(p *frpconf.Proxy) { p.Name = "n/a" }), `"n/a" is not the name of a proxy: only letters, digits, ., _ and - are allowed`},
		{"only dots", with(func(p *frpconf.Proxy) { p.Name = ".." }), `".." is not the name of a proxy: only letters, digits, ., _ and - are allowed`},
		{"type", with(func(p *frpconf.Proxy) { p.Type = "stcp" }), `proxy n.a: type "stcp" is not tcp, udp, http or https`},
		{"no domain", with(func(p *frpconf.Proxy) { p.Type, p.RemotePort = "http", 0 }), `proxy n.a: "" is not a domain, or there is a port besides`},
		{"any domain", with(func(p *frpconf.Proxy) { p.Type, p.RemotePort, p.Domain = "http", 0, "*.example.org" }), `proxy n.a: "*.example.org" is not a domain, or there is a port besides`},
		{"template for a domain", with(func(p *frpconf.Proxy) { p.Type, p.RemotePort, p.Domain = "https", 0, "{{.Envs.HOME}}.org" }), `proxy n.a: "{{.Envs.HOME}}.org" is not a domain, or there is a port besides`},
		{"domain and port", with(func(p *frpconf.Proxy) { p.Type, p.Domain = "https", "a.example.org" }), `proxy n.a: "a.example.org" is not a domain, or there is a port besides`},
		{"domain of a port", with(func(p *frpconf.Proxy) { p.Domain = "a.example.org" }), "proxy n.a: a proxy of type tcp has no domain"},
		{"domain twice", func(c *frpconf.Client) {
			a := frpconf.Proxy{Name: "n.a", Type: "http", Local: good.Local, Domain: "a.example.org"}
			b := a
			b.Name = "n.b"
			c.Proxies = []frpconf.Proxy{a, b}
		}, "proxies n.a and n.b both want http domain a.example.org"},
		{"no service", with(func(p *frpconf.Proxy) { p.Local = netip.AddrPort{} }), "proxy n.a: invalid AddrPort is not the address of a service"},
		{"service without port", with(func(p *frpconf.Proxy) { p.Local = netip.MustParseAddrPort("127.0.0.1:0") }), "proxy n.a: 127.0.0.1:0 is not the address of a service"},
		{"no remote port", with(func(p *frpconf.Proxy) { p.RemotePort = 0 }), "proxy n.a has no remote port"},
		{"long metadata", with(func(p *frpconf.Proxy) { p.Metadatas = map[string]string{"k": strings.Repeat("x", 4093)} }), "proxy n.a: 4097 bytes of name and metadata, at most 4096 are allowed"},
		{"proxy's metadata", with(func(p *frpconf.Proxy) { p.Metadatas = map[string]string{"": "x"} }), `proxy n.a: "" is not a key of metadata`},
		{"name twice", func(c *frpconf.Client) { c.Proxies = []frpconf.Proxy{good, good} }, "proxy n.a is there twice"},
		{"port twice", with(func(p *frpconf.Proxy) { p.Name = "n.b" }), "proxies n.a and n.b both want tcp port 20000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := exampleClient
			test.change(&c)
			if _, err := c.Encode(); err == nil || err.Error() != test.want {
				t.Errorf("Encode: %v, want %s", err, test.want)
			}
		})
	}
	t.Run("one number, two protocols", func(t *testing.T) {
		c := exampleClient
		with(func(p *frpconf.Proxy) { p.Name, p.Type = "n.b", "udp" })(&c)
		if _, err := c.Encode(); err != nil {
			t.Error(err)
		}
	})
}

func TestFingerprint(t *testing.T) {
	base := exampleClient
	base.Metadatas = map[string]frpconf.Secret{"a": "1", "b": "2"}
	base.Proxies = []frpconf.Proxy{
		{Name: "n.a", Type: "tcp", Local: netip.MustParseAddrPort("127.0.0.1:80"), RemotePort: 20000, Metadatas: map[string]string{"x": "1"}},
		{Name: "n.b", Type: "tcp", Local: netip.MustParseAddrPort("127.0.0.1:81"), RemotePort: 20001},
	}
	tests := []struct {
		name                   string
		change                 func(*frpconf.Client)
		sameCommon, sameMapped bool
	}{
		{"nothing", func(*frpconf.Client) {}, true, true},
		{"admin API", func(c *frpconf.Client) { c.Admin = frpconf.Web{} }, true, true},
		{"order", func(c *frpconf.Client) { slices.Reverse(c.Proxies) }, true, true},
		{"mapping gone", func(c *frpconf.Client) { c.Proxies = c.Proxies[:1] }, true, false},
		{"another service", func(c *frpconf.Client) { c.Proxies[0].Local = c.Proxies[1].Local }, true, false},
		{"another try", func(c *frpconf.Client) { c.Proxies[0].Metadatas = map[string]string{"x": "2"} }, true, false},
		{"token", func(c *frpconf.Client) { c.Token = "other" }, false, true},
		{"certificate", func(c *frpconf.Client) { c.TrustedCAFile = "other" }, false, true},
		{"credential", func(c *frpconf.Client) { c.Metadatas["a"] = "other" }, false, true},
		{"address", func(c *frpconf.Client) { c.ServerAddr = "198.51.100.1" }, false, true},
		{"keepalive", func(c *frpconf.Client) { c.Keepalive += time.Second }, false, true},
		{"log level spelled out", func(c *frpconf.Client) { c.LogLevel = "warn" }, true, true},
	}
	common, mapped, err := base.Fingerprint()
	if err != nil || len(common) != 64 || len(mapped) != 64 || common == mapped {
		t.Fatalf("Fingerprint = %q, %q, %v", common, mapped, err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := base
			c.Proxies, c.Metadatas = slices.Clone(base.Proxies), maps.Clone(base.Metadatas)
			test.change(&c)
			gotCommon, gotMapped, err := c.Fingerprint()
			if err != nil {
				t.Fatal(err)
			}
			if (gotCommon == common) != test.sameCommon || (gotMapped == mapped) != test.sameMapped {
				t.Errorf("same common %v, want %v; same mappings %v, want %v",
					gotCommon == common, test.sameCommon, gotMapped == mapped, test.sameMapped)
			}
		})
	}
}

func TestServer_Fingerprint(t *testing.T) {
	want, err := exampleServer.Fingerprint()
	if err != nil || len(want) != 64 {
		t.Fatalf("Fingerprint = %q, %v", want, err)
	}
	elsewhere := exampleServer
	elsewhere.Admin = frpconf.Web{}
	if got, err := elsewhere.Fingerprint(); err != nil || got != want {
		t.Errorf("with another admin API: %v, %q, want %q", err, got, want)
	}
	for name, change := range map[string]func(*frpconf.Server){
		"token":     func(s *frpconf.Server) { s.Token = "other" },
		"gate path": func(s *frpconf.Server) { s.Gate.Path = "/other" },
		"pool":      func(s *frpconf.Server) { s.Allow = []frpconf.Range{{First: 1, Last: 2}} },
	} {
		s := exampleServer
		change(&s)
		if got, err := s.Fingerprint(); err != nil || got == want {
			t.Errorf("%s: %v, the same fingerprint: %v", name, err, got == want)
		}
	}
}

func TestSecrets_neverPrint(t *testing.T) {
	s, c := exampleServer, exampleClient
	s.Token, s.Admin.Password, s.Gate.Path = "hunter2", "hunter2", "/hunter2"
	c.Token, c.Admin.Password = "hunter2", "hunter2"
	c.Metadatas = map[string]frpconf.Secret{"k": "hunter2"}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "s", s, "c", &c, "token", s.Token)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "s", s, "c", &c, "token", s.Token)
	for _, v := range []any{s, &s, c, &c, s.Token, c.Metadatas} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&logged, verb, v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		logged.Write(b)
	}
	logged.WriteString(s.Token.String())
	hex := fmt.Sprintf("%x", "hunter2")
	if got := logged.String(); strings.Contains(got, "hunter2") || strings.Contains(got, hex) {
		t.Errorf("the secret is in %s", got)
	}
}

func TestProxyName(t *testing.T) {
	node, name, ok := frpconf.ParseProxyName(frpconf.ProxyName("abc234", "my-web"))
	if node != "abc234" || name != "my-web" || !ok {
		t.Errorf("ParseProxyName = %q, %q, %v", node, name, ok)
	}
	for _, s := range []string{"", ".", "a", "a.", ".b", "a.b.c", "a.b/c", "a.{{"} {
		if node, name, ok := frpconf.ParseProxyName(s); ok {
			t.Errorf("ParseProxyName(%q) = %q, %q", s, node, name)
		}
	}
}
