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
//
// HOST is an IPv4 address, 127.0.0.1 when left out. REMOTE is the port wanted
// at the reverse proxy, which picks one when it is left out.
type mapSpec supervisor.Map

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

const mapHint = "write 22, 8080:22000 (local:remote), 192.168.1.9:22, 5353/udp or web=3000"

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
	name, rest, named := strings.Cut(spec, "=")
	if !named {
		rest = spec
	} else if err := tables.CheckName(name); err != nil {
		return supervisor.Map{}, err
	}

	m := supervisor.Map{Name: name, Type: tables.TCP}
	rest, proto, ok := strings.Cut(rest, "/")
	switch {
	case ok && proto == "udp":
		m.Type = tables.UDP
	case ok && proto != "tcp":
		return supervisor.Map{}, fmt.Errorf("%q is not a protocol: tcp and udp are", proto)
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
	if !named {
		m.Name = m.DefaultName()
	}
	return m, nil
}

// parseMaps is parseMap for SPECs with ranges: LOCAL and REMOTE may be
// FIRST-LAST, of one length. A name gets the local port behind it.
func parseMaps(spec string) ([]supervisor.MapSpec, error) {
	name, rest, named := strings.Cut(spec, "=")
	if !named {
		rest = spec
	} else if err := tables.CheckName(name); err != nil {
		return nil, err
	}
	rest, proto, hasProto := strings.Cut(rest, "/")
	if !strings.Contains(rest, "-") {
		m, err := parseMap(spec)
		return []supervisor.MapSpec{{Map: m, Named: named}}, err
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

// checkMaps refuses two mappings that want the same thing.
func checkMaps(maps []mapSpec) error {
	type local struct {
		proto tables.Protocol
		addr  netip.AddrPort
	}
	type remote struct {
		proto tables.Protocol
		port  uint16
	}
	names := map[string]bool{}
	locals := map[local]bool{}
	remotes := map[remote]bool{}
	for _, m := range maps {
		l, r := local{m.Type, m.Local}, remote{m.Type, m.Remote}
		switch {
		case locals[l]:
			return usage("map each local port once", "--map names %s/%s twice", m.Local, m.Type.FRP())
		case names[m.Name]:
			return usage("give one of them another name, such as NAME=22", "two --map have the name %s", m.Name)
		case m.Remote != 0 && remotes[r]:
			return usage("give each its own, or leave it out and the reverse proxy picks one",
				"two --map want port %d/%s of the reverse proxy", m.Remote, m.Type.FRP())
		}
		names[m.Name], locals[l], remotes[r] = true, true, true
	}
	return nil
}
