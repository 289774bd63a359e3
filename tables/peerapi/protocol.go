package peerapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"p2prc/tables/identity"
)

// Protocol talks to a peer, whose key is proved, on a connection of its ALPN,
// which is a *tls.Conn. It ends when ctx does, and the connection is closed
// after it returns; at the end of ctx it is closed already.
//
// Until admit is called, and gave nil, the peer is a stranger: it counts as
// one, and is cut off after 20 s. From then on the connection may stay, and has
// its place among those of this ALPN: so many for a node, so many in all. The
// protocol itself bounds how long it waits for a byte.
type Protocol func(ctx context.Context, peer Peer, conn net.Conn, admit func() error)

// spoken is a protocol and the room for those who speak it. Each has its own,
// so that a crowd at one door leaves the others open.
type spoken struct {
	protocol Protocol
	guests   *guests
}

func speak(protocols map[string]Protocol, room func() *guests) map[string]*spoken {
	all := make(map[string]*spoken, len(protocols))
	for alpn, p := range protocols {
		all[alpn] = &spoken{p, room()}
	}
	return all
}

// alpns is all that the port speaks under TLS.
func alpns(protocols map[string]Protocol) []string {
	all := []string{ALPNAPI, ALPNJoin}
	for alpn := range protocols {
		all = append(all, alpn)
	}
	slices.Sort(all)
	return all
}

func (s *spoken) serve(ctx context.Context, conn *tls.Conn, g *guest) {
	defer s.guests.leave(g)
	s.protocol(ctx, Peer{ID: g.id, From: g.from}, conn, func() error { return s.guests.admit(g) })
}

// DialOptions describes a node and what to speak with it. Key, ALPN and Host
// must be set.
type DialOptions struct {
	Key  identity.Key
	ALPN string
	Host string      // IPv4 address or name
	Port uint16      // 0: identity.DefaultPort
	Pin  identity.ID // the one node that is accepted there; empty: whoever answers

	Timeout  time.Duration // until the node has proved who it is; 0: 15 s
	Resolver Resolver      // nil: the system's
	// Dial opens a connection to an IPv4 address and port; nil: the system's.
	// Whoever dials addresses that others named puts a net.Dialer here whose
	// Control looks at the address that is really dialled.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// At sets Host and Port.
func (o DialOptions) At(a netip.AddrPort) DialOptions {
	o.Host, o.Port = a.Addr().String(), a.Port()
	return o
}

// DialProtocol connects to a node that speaks a Protocol, and says which node
// it is. Its errors are those of Client: a *identity.PinError, ErrNoP2PRC (also
// when the node does not speak this ALPN), or the node is out of reach. ctx is
// for the dialling only.
func DialProtocol(ctx context.Context, o DialOptions) (*tls.Conn, identity.ID, error) {
	c := NewClient(ClientOptions{
		Key: o.Key, Host: o.Host, Port: o.Port, Pin: o.Pin,
		Timeout: o.Timeout, Resolver: o.Resolver, Dial: o.Dial,
	})
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	raw, _, err := c.open(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("connecting: %w", cut(ctx, err))
	}
	tc, peer, err := shake(ctx, raw, identity.ClientTLS(o.Key, o.Pin, []string{o.ALPN}))
	if err != nil {
		raw.Close()
		return nil, "", err
	}
	return tc, peer, nil
}
