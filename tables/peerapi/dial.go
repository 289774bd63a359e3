package peerapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"p2prc/tables/identity"
)

// maxAddresses is how many addresses of a name are tried.
const maxAddresses = 4

// alpn is what a new connection begins with: without a pin only the token can
// tell the proxy from somebody else.
func (c *Client) alpn() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (c.pin == "" || c.join) && !c.o.Token.Zero() {
		return ALPNJoin
	}
	return ALPNAPI
}

func (c *Client) pinned() identity.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pin
}

// dial opens a connection, checks who is there, and joins if alpn says so.
func (c *Client) dial(ctx context.Context, alpn string) (*line, error) {
	raw, latency, err := c.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", cut(ctx, err))
	}
	l, err := c.greet(ctx, raw, alpn)
	if err != nil {
		raw.Close()
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = status{peer: l.peer, key: l.key, local: addrPort(raw.LocalAddr()), remote: addrPort(raw.RemoteAddr()), latency: latency}
	if alpn == ALPNJoin {
		c.pin = l.peer // proved by the token
	}
	return l, nil
}

// greet does everything that comes before the first request.
func (c *Client) greet(ctx context.Context, raw net.Conn, alpn string) (*line, error) {
	tc, peer, err := shake(ctx, raw, identity.ClientTLS(c.o.Key, c.pinned(), []string{alpn}))
	if err != nil {
		return nil, err
	}
	if alpn == ALPNJoin {
		stop := context.AfterFunc(ctx, func() { raw.Close() })
		err := joinAs(tc, c.o.Token, c.o.Name)
		if !stop() || err != nil {
			return nil, fmt.Errorf("joining: %w", cut(ctx, err))
		}
	}
	key, err := identity.PeerKey(tc.ConnectionState())
	if err != nil {
		return nil, err
	}
	return newLine(tc, peer, key), nil
}

// shake makes sure who is at the other end.
func shake(ctx context.Context, raw net.Conn, conf *tls.Config) (*tls.Conn, identity.ID, error) {
	tc := tls.Client(raw, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, "", fmt.Errorf("connecting: %w", notP2PRC(cut(ctx, err)))
	}
	peer, err := identity.PeerID(tc.ConnectionState())
	return tc, peer, err
}

// notP2PRC tells what can only come of a p2prc, or of nobody, from the rest.
func notP2PRC(err error) error {
	if _, ok := errors.AsType[*identity.PinError](err); ok || timedOut(err) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrNoP2PRC, err)
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded)
}

// open connects to the first of the proxy's addresses that answers. Each gets
// its share of the time that is left. The latency is that of the TCP
// handshake: one round trip, and no computing.
func (c *Client) open(ctx context.Context) (conn net.Conn, latency time.Duration, err error) {
	addrs, err := c.addresses(ctx)
	if err != nil {
		return nil, 0, err
	}
	for i, a := range addrs {
		conn, latency, err = c.openOne(ctx, netip.AddrPortFrom(a, c.o.Port), len(addrs)-i)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return conn, latency, err
}

func (c *Client) openOne(ctx context.Context, a netip.AddrPort, left int) (net.Conn, time.Duration, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	start := time.Now()
	conn, err := c.o.Dial(ctx, "tcp4", a.String())
	return conn, time.Since(start), err
}

// addresses is asked at every connect: names move.
func (c *Client) addresses(ctx context.Context) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(c.o.Host); err == nil {
		if !a.Is4() {
			return nil, fmt.Errorf("%s is not an IPv4 address", a)
		}
		return []netip.Addr{a}, nil
	}
	found, err := c.o.Resolver.LookupNetIP(ctx, "ip4", c.o.Host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.Is4() && len(addrs) < maxAddresses {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no IPv4 address", c.o.Host)
	}
	return addrs, nil
}

// addrPort is a TCP address as the rest of p2prc knows it.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
