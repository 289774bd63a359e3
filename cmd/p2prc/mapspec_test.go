package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/supervisor"
	"p2prc/tables"
)

func TestParseMap(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, tt := range []struct {
		spec string
		want supervisor.Map
	}{
		{"22", supervisor.Map{Name: "tcp-22", Type: tables.TCP, Local: at("127.0.0.1:22")}},
		{"22/tcp", supervisor.Map{Name: "tcp-22", Type: tables.TCP, Local: at("127.0.0.1:22")}},
		{"8080:22000", supervisor.Map{Name: "tcp-8080", Type: tables.TCP, Local: at("127.0.0.1:8080"), Remote: 22000}},
		{"192.168.1.9:22", supervisor.Map{Name: "tcp-192-168-1-9-22", Type: tables.TCP, Local: at("192.168.1.9:22")}},
		{"192.168.1.9:22:22000", supervisor.Map{Name: "tcp-192-168-1-9-22", Type: tables.TCP, Local: at("192.168.1.9:22"), Remote: 22000}},
		{"localhost:22", supervisor.Map{Name: "tcp-22", Type: tables.TCP, Local: at("127.0.0.1:22")}},
		{"127.0.0.1:22", supervisor.Map{Name: "tcp-22", Type: tables.TCP, Local: at("127.0.0.1:22")}},
		{"127.0.0.2:22", supervisor.Map{Name: "tcp-127-0-0-2-22", Type: tables.TCP, Local: at("127.0.0.2:22")}},
		{"5353/udp", supervisor.Map{Name: "udp-5353", Type: tables.UDP, Local: at("127.0.0.1:5353")}},
		{"10.0.0.1:53:20053/udp", supervisor.Map{Name: "udp-10-0-0-1-53", Type: tables.UDP, Local: at("10.0.0.1:53"), Remote: 20053}},
		{"web=3000", supervisor.Map{Name: "web", Type: tables.TCP, Local: at("127.0.0.1:3000")}},
		{"dns=10.0.0.1:53:20053/udp", supervisor.Map{Name: "dns", Type: tables.UDP, Local: at("10.0.0.1:53"), Remote: 20053}},
		{"app.example.org=3000", supervisor.Map{Name: "http-app-example-org", Type: tables.HTTP, Local: at("127.0.0.1:3000"), Domain: "app.example.org"}},
		{"app.example.org=3000/http", supervisor.Map{Name: "http-app-example-org", Type: tables.HTTP, Local: at("127.0.0.1:3000"), Domain: "app.example.org"}},
		{"app.example.org=10.0.0.1:3443/https", supervisor.Map{Name: "https-app-example-org", Type: tables.HTTPS, Local: at("10.0.0.1:3443"), Domain: "app.example.org"}},
		{"web=app.example.org=3000", supervisor.Map{Name: "web", Type: tables.HTTP, Local: at("127.0.0.1:3000"), Domain: "app.example.org"}},
		{"app.example.org=web=3000", supervisor.Map{Name: "web", Type: tables.HTTP, Local: at("127.0.0.1:3000"), Domain: "app.example.org"}},
		{"1", supervisor.Map{Name: "tcp-1", Type: tables.TCP, Local: at("127.0.0.1:1")}},
		{"65535:65535", supervisor.Map{Name: "tcp-65535", Type: tables.TCP, Local: at("127.0.0.1:65535"), Remote: 65535}},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := parseMap(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("parseMap(%q) (-want +got)\n%s", tt.spec, diff)
			}
		})
	}
}

func TestParseMap_refused(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"nothing", "", `"" is not a port number`},
		{"port 0", "0", "port 0 is outside 1-65535"},
		{"port 65536", "65536", "port 65536 is outside 1-65535"},
		{"six digits", "123456", "port 123456 is outside 1-65535"},
		{"remote port 0", "22:0", "port 0 is outside 1-65535"},
		{"remote port too large", "22:70000", "port 70000 is outside 1-65535"},
		{"no remote port", "22:", `"" is not a port number`},
		{"no local port", ":22", `"" is not a port number`},
		{"a sign", "+22", `"+22" is not a port number`},
		{"three ports", "1:2:3", `"2:3" is not a port number`},
		{"a host alone", "192.168.1.9", "the port of 192.168.1.9 is missing"},
		{"a name as host", "nas:22", `"nas" is not an IPv4 address`},
		{"half an address", "192.168.1:22", `"192.168.1" is not an IPv4 address`},
		{"any address", "0.0.0.0:22", "0.0.0.0 is not the address of a host"},
		{"a group address", "224.0.0.1:22", "224.0.0.1 is not the address of a host"},
		{"IPv6", "::1", "IPv6"},
		{"IPv6 in brackets", "[::1]:22", "IPv6"},
		{"long IPv6", "2001:db8:0:0:1:0:0:1", "IPv6"},
		{"another protocol", "22/sctp", `"sctp" is not a protocol`},
		{"protocol in the middle", "53/udp:53", `"udp:53" is not a protocol`},
		{"no name", "=22", "a name may not be empty"},
		{"a path as name", "../x=22", `"../x" is not a name`},
		{"a template as name", "{{ .Envs.HOME }}=22", `"{{ .Envs.HOME }}" is not a name`},
		{"a long name", strings.Repeat("a", 64) + "=22", "at most 63 characters, this one has 64"},
		{"a newline in the name", "a\nb=22", `"a\nb" is not a name`},
		{"an escape in the name", "\x1b[31m=22", `"\x1b[31m" is not a name`},
		{"an escape in the port", "\x1b[31m", `"\x1b[31m" is not a port number`},
		{"a zone", "fe80::1%\x1b[31m:22", "IPv6"},
		{"http without a domain", "3000/http", "a mapping of http needs a domain"},
		{"a domain for a port", "app.example.org=22/tcp", "a mapping of tcp has no domain"},
		{"a domain and a port", "app.example.org=3000:22000", "app.example.org comes with the reverse proxy's http port, not with port 22000"},
		{"two domains", "a.example.org=b.example.org=1", "there are two domains, a.example.org and b.example.org"},
		{"two names", "a=b=1", `there are two names, a and "b"`},
		{"a wildcard", "*.example.org=1", `"*.example.org" is not a domain`},
		{"an upper-case domain", "App.example.org=1", `write it in small letters`},
		{"an address as domain", "10.0.0.1=1", `"10.0.0.1" is not a domain`},
		{"a domain for proofs", "a.p2prc.invalid=1", "a.p2prc.invalid is for proofs"},
		{"a long domain", strings.Repeat("a", 60) + ".org=1", "it needs a NAME= in front: a name has at most 63 characters"},
		{"an escape in the domain", "\x1b[31m.org=1", `"\x1b[31m.org" is not a name`},
		{"upper-case protocol", "22/TCP", `"TCP" is not a protocol`},
		{"upper case", "Web=22", `"Web" is not a name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMap(tt.spec)
			if err == nil {
				t.Fatalf("parseMap(%q) = %+v, want an error", tt.spec, got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parseMap(%q): %v, want %q in it", tt.spec, err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("parseMap(%q): %q carries control characters", tt.spec, err)
			}
		})
	}
}

func TestCheckMaps(t *testing.T) {
	for _, tt := range []struct {
		name  string
		specs []string
		want  string // in the error; empty: fine
	}{
		{"different", []string{"22", "53/udp", "53", "web=80:20080"}, ""},
		{"one local port, two protocols", []string{"53", "53/udp"}, ""},
		{"one remote port, two protocols", []string{"53:20053", "53:20053/udp"}, ""},
		{"same port on two hosts", []string{"10.0.0.1:22", "10.0.0.2:22"}, ""},
		{"same twice", []string{"22", "22"}, "--map names 127.0.0.1:22/tcp twice"},
		{"same under two names", []string{"a=22", "b=22:20022"}, "--map names 127.0.0.1:22/tcp twice"},
		{"one service, two domains", []string{"a.example.org=80", "b.example.org=80", "80"}, ""},
		{"one domain, two kinds", []string{"a.example.org=80", "a.example.org=443/https"}, ""},
		{"same domain", []string{"x=a.example.org=80", "y=a.example.org=81"}, "two --map want the domain a.example.org for http"},
		{"same name", []string{"a=22", "a=23"}, "two --map have the name a"},
		{"name like a default one", []string{"tcp-22=23", "22"}, "two --map have the name tcp-22"},
		{"same remote port", []string{"22:20022", "23:20022"}, "two --map want port 20022/tcp of the reverse proxy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseWith(t, nil, append([]string{"-s", "--connect-reverse-proxy=192.0.2.1"}, flags("--map", tt.specs)...)...)
			if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("%v: %v, want %q", tt.specs, got, tt.want)
			}
		})
	}
}

func flags(name string, values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, name+"="+v)
	}
	return out
}

func FuzzParseMap(f *testing.F) {
	for _, spec := range []string{"22", "8080:22000", "192.168.1.9:22:22000/udp", "web=3000", "[::1]:22", "{{x}}=1", "a\x1b=1", "app.example.org=3000/https", "a=b.c=1"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		m, err := parseMap(spec)
		if err != nil {
			if m != (supervisor.Map{}) {
				t.Errorf("parseMap(%q) gives %+v with the error %v", spec, m, err)
			}
			return
		}
		if err := tables.CheckName(m.Name); err != nil {
			t.Errorf("parseMap(%q): %v", spec, err)
		}
		if !m.Local.Addr().Is4() || m.Local.Port() == 0 {
			t.Errorf("parseMap(%q): local address %v", spec, m.Local)
		}
		long := fmt.Sprintf("%s=%s", m.Name, m.Local)
		if m.Domain != "" {
			long = m.Domain + "=" + long
		}
		if m.Remote != 0 {
			long += fmt.Sprintf(":%d", m.Remote)
		}
		long += "/" + m.Type.FRP()
		if again, err := parseMap(long); err != nil || again != m {
			t.Errorf("parseMap(%q) = %+v, and parseMap(%q) = %+v, %v", spec, m, long, again, err)
		}
	})
}
