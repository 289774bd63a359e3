// Package netaddr answers which addresses a stranger can dial, and keeps this
// node from dialling others only because somebody named them. Not here: the
// addresses of this host (package supervisor).
package netaddr

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

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

// Ranges of IPv6 in which an IPv4 address hides (RFC 4291, 6052, 8215, 3056,
// 4380), and for documentation (RFC 3849, 9637).
var notPublic6 = []netip.Prefix{
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("fec0::/10"),
}

// Public tells whether a stranger on the internet can dial ip.
func Public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	ranges := notPublic
	if ip.Is6() {
		ranges = notPublic6
	}
	for _, p := range ranges {
		if p.Contains(ip.WithZone("")) {
			return false
		}
	}
	return true
}

// Filter says which addresses that others named may be dialled. The zero value
// allows public ones only.
type Filter struct {
	Private bool // allows all others too, for labs and closed networks
}

// Check says why an address may not be dialled. Those that are nobody's are
// never allowed.
func (f Filter) Check(ip netip.Addr) error {
	ip = ip.Unmap()
	switch {
	case Public(ip):
		return nil
	case !f.Private:
		return fmt.Errorf("%s is no public address", ip)
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is no address of a host", ip)
	}
	return nil
}

// Control is for net.Dialer.Control: it sees the address that is connected to
// in the end, whatever name led there.
func (f Filter) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dialling %s: it is no address", address)
	}
	if err := f.Check(ap.Addr()); err != nil {
		return fmt.Errorf("dialling: %w", err)
	}
	return nil
}

// Dialer is a dialer that keeps to the filter.
func (f Filter) Dialer() *net.Dialer { return &net.Dialer{Control: f.Control} }
