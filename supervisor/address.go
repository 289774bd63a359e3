package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"p2prc/tables"
	"p2prc/tables/netaddr"
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
		if ip := prefix.Addr().Unmap(); ip.Is4() && netaddr.Public(ip) {
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
