package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"p2prc/tables"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// publicAddress is the one global IPv4 address of this host's interfaces.
func publicAddress(addrs []net.Addr) (netip.Addr, error) {
	var found []netip.Addr
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr().Unmap(); ip.Is4() && isPublic(ip) {
			found = append(found, ip)
		}
	}
	const hint = "pass --public-address IP: a cloud host often has its public address at the provider's NAT only, not on an interface"
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return netip.Addr{}, fail(BadUsage, hint, "finding the public address: no interface of this host has a public IPv4 address")
	}
	return netip.Addr{}, fail(BadUsage, "pass --public-address with the one that strangers should dial",
		"finding the public address: this host has several public IPv4 addresses: %v", found)
}

// Ranges that netip calls global unicast and that no stranger can dial:
// shared address space (RFC 6598), documentation (RFC 5737), benchmarks
// (RFC 2544), reserved (RFC 1112).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

func isPublic(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

// nodeName makes the host's name fit to be a node's.
func nodeName() string {
	host, err := os.Hostname()
	if err != nil {
		return "node"
	}
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Trim(strings.Map(func(c rune) rune {
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') {
			return c
		}
		return '-'
	}, host), "-")
	if len(name) > tables.MaxName {
		name = strings.TrimRight(name[:tables.MaxName], "-")
	}
	if name == "" {
		return "node"
	}
	return name
}

// overlap says in words that the pool and the kernel's ephemeral ports meet:
// any outgoing connection may then hold a port that was reserved.
func overlap(pool tables.PortRange, ipLocalPortRange string) string {
	var lo, hi uint16
	if _, err := fmt.Sscan(ipLocalPortRange, &lo, &hi); err != nil || lo > pool.Last || hi < pool.First {
		return ""
	}
	return fmt.Sprintf("the pool %s overlaps the ports %d-%d that this host uses for outgoing connections (net.ipv4.ip_local_port_range): pick another --ports", pool, lo, hi)
}
