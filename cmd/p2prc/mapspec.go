package main

import (
	"fmt"
	"net/netip"
	"strings"

	"p2prc/supervisor"
	"p2prc/tables"
)

// mapSpec is one --map as the user writes it:
//
//	[NAME=][HOST:]LOCAL[:REMOTE][/tcp|/udp]
//	[NAME=]DOMAIN=[HOST:]LOCAL[/http|/https]
//
// HOST is an IPv4 address, 127.0.0.1 when left out. REMOTE is the port wanted
// at the reverse proxy, which picks one when it is left out. A DOMAIN has a dot in
// it, which no NAME has.
type mapSpec supervisor.Map

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

const mapHint = "write 22, 8080:22000 (local:remote), 192.168.1.9:22, 5353/udp, web=3000 or app.example.org=3000/http"

// UnmarshalText reads a SPEC.
func (m *mapSpec) UnmarshalText(text []byte) error {
	got, err := parseMap(string(text))
	if err != nil {
		return usage(mapHint, "%q: %w", text, err)
	}
	*m = mapSpec(got)
	return nil
}

func parseMap(spec string) (supervisor.Map, error) {
	names, rest, err := splitNames(spec)
	if err != nil {
		return supervisor.Map{}, err
	}
	m := supervisor.Map{Name: names.name, Type: tables.TCP, Domain: names.domain}
	if m.Domain != "" {
		m.Type = tables.HTTP
	}
	rest, proto, ok := strings.Cut(rest, "/")
	if ok {
		if m.Type = tables.Protocol(strings.ToUpper(proto)); !m.Type.Known() || m.Type.FRP() != proto {
			return supervisor.Map{}, fmt.Errorf("%q is not a protocol: tcp, udp, http and https are", proto)
		}
	}

	host, ports, err := splitHost(rest)
	if err != nil {
		return supervisor.Map{}, err
	}
	local, remote, hasRemote := strings.Cut(ports, ":")
	port, err := tables.ParsePort(local)
	if err != nil {
		return supervisor.Map{}, err
	}
	if hasRemote {
		if m.Remote, err = tables.ParsePort(remote); err != nil {
			return supervisor.Map{}, err
		}
	}
	m.Local = netip.AddrPortFrom(host, port)
	if err := m.CheckDomain(); err != nil {
		return supervisor.Map{}, err
	}
	if m.Name == "" {
		m.Name = m.DefaultName()
		if err := tables.CheckName(m.Name); err != nil { // that of a long domain
			return supervisor.Map{}, fmt.Errorf("it needs a NAME= in front: %w", err)
		}
	}
	return m, nil
}

// given is what stands in front of a SPEC, each empty when it does not.
type given struct{ name, domain string }

func splitNames(spec string) (g given, rest string, err error) {
	for rest = spec; ; {
		first, more, ok := strings.Cut(rest, "=")
		if !ok {
			return g, rest, nil
		}
		rest = more
		if looksLikeDomain(first) {
			if g.domain != "" {
				return given{}, "", fmt.Errorf("there are two domains, %s and %s", g.domain, first)
			}
			g.domain, err = first, tables.CheckDomain(first)
		} else if g.name != "" {
			return given{}, "", fmt.Errorf("there are two names, %s and %q", g.name, first)
		} else {
			g.name, err = first, tables.CheckName(first)
		}
		if err != nil {
			return given{}, "", err
		}
	}
}

// looksLikeDomain holds for what somebody meant as a domain, well-formed or not.
func looksLikeDomain(s string) bool {
	return strings.Contains(s, ".") && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-.*") == ""
}

// parseMaps is parseMap for SPECs with ranges: LOCAL and REMOTE may be
// FIRST-LAST, of one length. A name gets the local port behind it.
func parseMaps(spec string) ([]supervisor.MapSpec, error) {
	names, rest, err := splitNames(spec)
	if err != nil {
		return nil, err
	}
	name, named := names.name, names.name != ""
	rest, proto, hasProto := strings.Cut(rest, "/")
	if !strings.Contains(rest, "-") {
		m, err := parseMap(spec)
		return []supervisor.MapSpec{{Map: m, Named: named}}, err
	}
	if names.domain != "" {
		return nil, fmt.Errorf("%s can lead to one port only", names.domain)
	}
	if hasProto {
		proto = "/" + proto
	}
	host := ""
	if first, ports, more := strings.Cut(rest, ":"); more && strings.Trim(first, "0123456789-") != "" {
		host, rest = first+":", ports
	}
	localText, remoteText, hasRemote := strings.Cut(rest, ":")
	local, err := tables.ParsePortRange(localText)
	if err != nil {
		return nil, err
	}
	remote := tables.PortRange{}
	if hasRemote {
		if remote, err = tables.ParsePortRange(remoteText); err != nil {
			return nil, err
		}
		if remote.Len() != local.Len() {
			return nil, fmt.Errorf("%s has %d ports and %s has %d", local, local.Len(), remote, remote.Len())
		}
	}
	maps := make([]supervisor.MapSpec, local.Len())
	for i := range maps {
		one := fmt.Sprintf("%s%d", host, int(local.First)+i)
		if hasRemote {
			one += fmt.Sprintf(":%d", int(remote.First)+i)
		}
		if named {
			one = fmt.Sprintf("%s-%d=%s", name, int(local.First)+i, one)
		}
		if maps[i].Map, err = parseMap(one + proto); err != nil {
			return nil, err
		}
		maps[i].Named = named
	}
	return maps, nil
}

// splitHost takes the HOST off "HOST:LOCAL[:REMOTE]". What looks like a port
// is one: no IPv4 address or name is all digits.
func splitHost(s string) (host netip.Addr, ports string, err error) {
	if looksLikeIPv6(s) {
		return host, "", fmt.Errorf("the local host is IPv6, where only IPv4 will do")
	}
	first, rest, more := strings.Cut(s, ":")
	if strings.Trim(first, "0123456789") == "" {
		return loopback, s, nil
	}
	if !more {
		if _, err := netip.ParseAddr(first); err == nil {
			return host, "", fmt.Errorf("the port of %s is missing", first)
		}
		return host, "", fmt.Errorf("%q is not a port number", first)
	}
	if first == "localhost" {
		return loopback, rest, nil
	}
	host, err = parseIPv4(first)
	return host, rest, err
}

// checkMaps refuses two mappings that want the same thing; as is what the command
// line calls one.
func checkMaps(as string, maps []mapSpec) error {
	type local struct {
		proto  tables.Protocol
		addr   netip.AddrPort
		domain string
	}
	type remote struct {
		proto  tables.Protocol
		port   uint16
		domain string
	}
	names := map[string]bool{}
	locals := map[local]bool{}
	remotes := map[remote]bool{}
	for _, m := range maps {
		l, r := local{m.Type, m.Local, m.Domain}, remote{m.Type, m.Remote, m.Domain}
		switch {
		case locals[l]:
			return usage("map each local port once", "%s names %s/%s twice", as, m.Local, m.Type.FRP())
		case names[m.Name]:
			return usage("give one of them another name, such as NAME=22", "two %s have the name %s", as, m.Name)
		case m.Domain != "" && remotes[r]:
			return usage("a domain leads to one service", "two %s want the domain %s for %s", as, m.Domain, m.Type.FRP())
		case m.Remote != 0 && remotes[r]:
			return usage("give each its own, or leave it out and the reverse proxy picks one",
				"two %s want port %d/%s of the reverse proxy", as, m.Remote, m.Type.FRP())
		}
		names[m.Name], locals[l], remotes[r] = true, true, true
	}
	return nil
}
