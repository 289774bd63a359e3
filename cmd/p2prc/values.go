package main

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// usageError is a command line that cannot be run, and what to write instead.
type usageError struct {
	err  error
	hint string
}

func (u *usageError) Error() string { return u.err.Error() }

func (u *usageError) Unwrap() error { return u.err }

func usage(hint, format string, args ...any) *usageError {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// parseIPv4 reads the IPv4 address of one host.
func parseIPv4(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	switch {
	case looksLikeIPv6(s), err == nil && !addr.Is4():
		return netip.Addr{}, fmt.Errorf("%q is IPv6, where only IPv4 will do", s)
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 address", s)
	case addr.IsUnspecified(), addr.IsMulticast(), addr == broadcast:
		return netip.Addr{}, fmt.Errorf("%s is not the address of a host", addr)
	}
	return addr, nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// looksLikeIPv6 holds for what somebody meant as IPv6, well-formed or not.
func looksLikeIPv6(s string) bool {
	return strings.HasPrefix(s, "[") || strings.Contains(s, "::") || strings.Count(s, ":") > 2
}

// port is a flag that takes a port.
type port uint16

// UnmarshalText reads a port.
func (p *port) UnmarshalText(text []byte) error {
	got, err := tables.ParsePort(string(text))
	if err != nil {
		return usage("a port is a number from 1 to 65535", "%w", err)
	}
	*p = port(got)
	return nil
}

// span is a flag that takes how long to wait.
type span time.Duration

// UnmarshalText reads a time with its unit.
func (s *span) UnmarshalText(text []byte) error {
	got, err := time.ParseDuration(string(text))
	if err != nil || got < 0 {
		return usage("write it with its unit, such as 30s or 2m", "%q is not a time to wait", text)
	}
	*s = span(got)
	return nil
}

// domain is a flag that takes the domain of a mapping.
type domain string

// UnmarshalText reads a domain.
func (d *domain) UnmarshalText(text []byte) error {
	if err := tables.CheckDomain(string(text)); err != nil {
		return usage("write it as in app.example.org, in small letters", "%w", err)
	}
	*d = domain(text)
	return nil
}

// pool is a flag that takes a range of ports.
type pool tables.PortRange

// UnmarshalText reads FIRST-LAST or a single port.
func (p *pool) UnmarshalText(text []byte) error {
	got, err := tables.ParsePortRange(string(text))
	if err != nil {
		return usage("write the first and the last port, such as 20000-29999", "%w", err)
	}
	*p = pool(got)
	return nil
}

// ipv4 is a flag that takes the IPv4 address of a host.
type ipv4 struct{ netip.Addr }

// UnmarshalText reads an IPv4 address.
func (a *ipv4) UnmarshalText(text []byte) error {
	got, err := parseIPv4(string(text))
	if err != nil {
		return usage("write it as four numbers, such as 203.0.113.7", "%w", err)
	}
	a.Addr = got
	return nil
}

// listen is where a socket is bound: ADDR:PORT or :PORT.
type listen struct {
	host netip.Addr // zero: the role's own choice
	port uint16     // 0: p2prc picks
	set  bool
}

// UnmarshalText reads ADDR:PORT or :PORT.
func (l *listen) UnmarshalText(text []byte) error {
	const hint = "write ADDR:PORT or :PORT, such as 0.0.0.0:8088 or :8088"
	s := string(text)
	if looksLikeIPv6(s) {
		return usage(hint, "%q is IPv6, where only IPv4 will do", s)
	}
	host, portText, ok := strings.Cut(s, ":")
	if !ok {
		return usage(hint, "%q lacks an address or a port", s)
	}
	got := listen{set: true}
	var err error
	if host != "" {
		if got.host, err = netip.ParseAddr(host); err != nil {
			return usage(hint, "%q is not an IPv4 address", host)
		}
	}
	if portText != "0" {
		if got.port, err = tables.ParsePort(portText); err != nil {
			return usage(hint, "%w", err)
		}
	}
	*l = got
	return nil
}

// addrPort is the zero value where the role is to choose.
func (l listen) addrPort() netip.AddrPort { return netip.AddrPortFrom(l.host, l.port) }

// nodeID is a flag that takes the ID of a node.
type nodeID identity.ID

// UnmarshalText reads a node ID.
func (n *nodeID) UnmarshalText(text []byte) error {
	id, err := identity.ParseID(string(text))
	if err != nil {
		return usage("a node prints its ID while it waits to be allowed", "%w", err)
	}
	*n = nodeID(id)
	return nil
}

// nodeName is a flag that takes the name of a node, or for a view a pattern
// that names are to match; which of them is for Validate to say.
type nodeName string

// UnmarshalText reads a name or a pattern.
func (n *nodeName) UnmarshalText(text []byte) error {
	plain := strings.NewReplacer("*", "x", "?", "x", "[", "x", "]", "x").Replace(string(text))
	if err := tables.CheckName(plain); err != nil {
		return usage(nameHint, "%w", tables.CheckName(string(text)))
	}
	if _, err := path.Match(string(text), ""); err != nil {
		return usage("close the bracket: [ab] is a or b", "%q is not a pattern", text)
	}
	*n = nodeName(text)
	return nil
}

const nameHint = "write a name such as edge-1, or leave --name out: then it is this host's"

// rowState is a flag that takes the state of a row.
type rowState tables.State

// outputForm is a flag that takes how a view is printed.
type outputForm string

// The forms of a view.
const (
	asTable outputForm = "table"
	asWide  outputForm = "wide"
	asJSON  outputForm = "json"
)

// UnmarshalText reads a form.
func (o *outputForm) UnmarshalText(text []byte) error {
	switch got := outputForm(text); got {
	case asTable, asWide, asJSON:
		*o = got
		return nil
	}
	return usage("write table, wide or json", "%q is not a form of output", text)
}
