package record

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
)

// Role says which of a node's mappings of one name is in use.
type Role string

// A standby leads to the same service through another reverse proxy, and takes
// over when the active one fails.
const (
	Active  Role = "active"
	Standby Role = "standby"
)

// Claim is a node's word that an address of a reverse proxy leads to it, with
// the proxy's word that the port is its own, or the domain. Name, type, port,
// domain and lease are in that word, and only there. The local address is nobody
// else's business.
type Claim struct {
	Server  string     // the node's name
	Address netip.Addr // of the reverse proxy
	Role    Role
	Node    bool // the server's own port, not a --map

	lease lease.Signed
	// As they were written: a set holds many claims, and these are in the
	// record's bytes anyway.
	signed, proxyKey string
}

// NewClaim makes a claim of a lease that the reverse proxy with this key signed.
func NewClaim(signed []byte, proxy ed25519.PublicKey, c Claim) (*Claim, error) {
	c.signed, c.proxyKey = b64.EncodeToString(signed), encodeKey(proxy)
	if c.Role == "" {
		c.Role = Active
	}
	if err := c.parseLease(); err != nil {
		return nil, fmt.Errorf("claiming %s: %w", c.lease.Name, err)
	}
	if err := c.verifyLease(); err != nil {
		return nil, fmt.Errorf("claiming %s: %w", c.lease.Name, err)
	}
	return &c, nil
}

func readClaim(_ Subject, in *fields) *Claim {
	c := &Claim{
		Server:   in.name("server"),
		Address:  in.addr("address"),
		Role:     Role(in.text("role", maxText)),
		Node:     in.flag("node"),
		signed:   in.text("lease", MaxSize),
		proxyKey: in.text("proxy-key", maxText),
	}
	if c.Role != Active && c.Role != Standby {
		in.fail("role", fmt.Errorf("%q is none", string(c.Role)))
	}
	if in.err == nil {
		in.fail("lease", c.parseLease())
	}
	return c
}

// parseLease reads the lease; its signature is for verifyLease.
func (c *Claim) parseLease() error {
	key, err := decodeKey(c.proxyKey)
	if err != nil {
		return err
	}
	signed, err := b64.DecodeString(c.signed)
	if err != nil {
		return err
	}
	c.lease, err = lease.ParseSigned(signed, func([]byte, []byte) bool { return true })
	switch {
	case err != nil:
	case identity.IDOf(key) != c.lease.Proxy:
		err = errors.New("the key beside it is not its reverse proxy's")
	case tables.IsCanaryDomain(c.lease.Domain):
		err = fmt.Errorf("the domain %s is for proofs", c.lease.Domain)
	}
	return err
}

func (c *Claim) verifyLease() error {
	_, err := lease.ParseSigned(c.Lease(), func(msg, sig []byte) bool {
		return identity.Verify(c.lease.Proxy, c.ProxyKey(), msg, sig) == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	return nil
}

// Lease is the lease as the reverse proxy signed it.
func (c *Claim) Lease() []byte {
	b, _ := b64.DecodeString(c.signed) // it was read once
	return b
}

// ProxyKey is the key of the reverse proxy, which checks Lease.
func (c *Claim) ProxyKey() ed25519.PublicKey {
	key, _ := decodeKey(c.proxyKey)
	return key
}

// Signed is what the reverse proxy says about the port.
func (c *Claim) Signed() lease.Signed { return c.lease }

// Public is the address that a stranger dials.
func (c *Claim) Public() netip.AddrPort { return netip.AddrPortFrom(c.Address, c.lease.Port) }

// Type is the mapping's protocol.
func (c *Claim) Type() tables.Protocol { return c.lease.Type }

// Tunnel is the mapping that is claimed.
func (c *Claim) Tunnel() Tunnel { return Tunnel{c.lease.Node, c.lease.Proxy, c.lease.Name} }

// kind tells domains apart: a version that does not know them takes a claim of
// one for malformed, and its sender for dishonest.
func (c *Claim) kind() Kind {
	if c.lease.Type.ByName() {
		return KindDomain
	}
	return KindClaim
}

func (c *Claim) subject() Subject { return c.Tunnel().ClaimSubject() }

func (c *Claim) fields() []field {
	f := []field{{"address", c.Address.String()}, {"lease", c.signed}}
	if c.Node {
		f = append(f, field{"node", yes})
	}
	return append(f, field{"proxy-key", c.proxyKey}, field{"role", string(c.Role)}, field{"server", c.Server})
}

func (c *Claim) entitled(r *Record) error {
	if c.lease.Node != r.Owner {
		return fmt.Errorf("it claims a lease of node %s", c.lease.Node.Short())
	}
	return nil
}

// same does not look at the signature and end of the lease: a lease that was
// renewed is the same one.
func (c *Claim) same(other Body) bool {
	o, ok := other.(*Claim)
	if !ok {
		return false
	}
	a, b := c.lease, o.lease
	a.Until, b.Until = time.Time{}, time.Time{}
	return a == b && c.Server == o.Server && c.Address == o.Address && c.Role == o.Role && c.Node == o.Node
}

// Down says that a claim does not work now, and since when. It is void as soon
// as the node makes the claim anew, and when it is taken back.
type Down struct {
	Tunnel Tunnel
	Claim  uint64 // serial of the claim that it is about
	Reason string
	Since  time.Time // in whole seconds
}

func readDown(s Subject, in *fields) *Down {
	t, err := parseDownSubject(s)
	in.fail("subject", err)
	return &Down{Tunnel: t, Claim: in.uint("claim", 64), Reason: in.text("reason", maxReason), Since: in.time("since")}
}

func (*Down) kind() Kind         { return KindDown }
func (d *Down) subject() Subject { return d.Tunnel.DownSubject() }

func (d *Down) fields() []field {
	return []field{
		{"claim", strconv.FormatUint(d.Claim, 10)},
		{"reason", printable(d.Reason, maxReason)},
		{"since", encodeTime(d.Since)},
	}
}

func (d *Down) entitled(r *Record) error {
	if r.Owner != d.Tunnel.Node && r.Owner != d.Tunnel.Proxy {
		return errors.New("neither the node nor the reverse proxy of that mapping says so")
	}
	return nil
}

func (d *Down) same(other Body) bool {
	o, ok := other.(*Down)
	return ok && o.Tunnel == d.Tunnel && o.Claim == d.Claim && printable(o.Reason, maxReason) == printable(d.Reason, maxReason)
}
