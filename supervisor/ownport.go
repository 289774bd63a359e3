package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"

	"p2prc/tables"
	"p2prc/tables/peerapi"
)

// candidateCount is how many ports the server binds before it asks: the proxy
// finds one of them free nearly always.
const candidateCount = 4

// ownPort is where the node's own port is served: one number that is free here
// and at the reverse proxy, if there is one. A listener that is held is a fact;
// a probe is not.
type ownPort struct {
	host  netip.Addr
	fixed uint16 // from --listen; 0 for any
	serve func(net.Listener)

	held   map[uint16]net.Listener // candidates, until one is chosen
	chosen netip.AddrPort
	udp    net.PacketConn // the UDP canary's, nil without one
}

// openOwnPort prepares the node's own port and binds the UDP canary.
func openOwnPort(s *server) (*ownPort, error) {
	p := &ownPort{host: s.o.Listen.Addr(), fixed: s.o.Listen.Port(), held: make(map[uint16]net.Listener)}
	if !p.host.IsValid() {
		p.host = loopback
	}
	p.serve = func(ln net.Listener) {
		s.tree.Add(peerapi.NewPort(ln, peerapi.PortOptions{
			Key: s.key, Info: s.info, Canary: s.canary.Answer, Log: s.log.With("component", "port"),
		}))
	}
	if t := s.tunnels[tables.UDP]; t != nil {
		conn, err := net.ListenPacket("udp4", net.JoinHostPort(p.host.String(), "0"))
		if err != nil {
			return nil, fmt.Errorf("opening the UDP canary: %w", err)
		}
		p.udp = conn
		t.canary.Local = netip.MustParseAddrPort(conn.LocalAddr().String())
	}
	return p, nil
}

// candidates are ports held here, out of the pool, the one of last time first.
func (p *ownPort) candidates(pool tables.PortRange, last uint16) ([]uint16, error) {
	if p.chosen.IsValid() {
		return []uint16{p.chosen.Port()}, nil
	}
	if p.fixed != 0 {
		if err := p.hold(p.fixed); err != nil {
			return nil, fail(NoPort, "pass another port with --listen", "opening the node's own port: %w", err)
		}
		return []uint16{p.fixed}, nil
	}
	if last != 0 {
		_ = p.hold(last) // taken meanwhile: the numbers differ then
	}
	for tries := 0; len(p.held) < candidateCount && tries < 10*candidateCount; tries++ {
		_ = p.hold(pool.First + uint16(rand.IntN(pool.Len()))) // taken: try the next
	}
	if len(p.held) == 0 {
		if err := p.hold(0); err != nil {
			return nil, fail(NoPort, "pass a free one with --listen", "opening the node's own port: %w", err)
		}
	}
	ports := make([]uint16, 0, len(p.held))
	if _, ok := p.held[last]; ok {
		ports = append(ports, last)
	}
	for port := range p.held {
		if port != last {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

func (p *ownPort) hold(port uint16) error {
	if _, ok := p.held[port]; ok {
		return nil
	}
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(p.host, port).String())
	if err != nil {
		return err
	}
	p.held[netip.MustParseAddrPort(ln.Addr().String()).Port()] = ln
	return nil
}

// choose keeps the listener on the granted port, else any, lets the others go
// and starts to serve. Once chosen it stays.
func (p *ownPort) choose(granted uint16) netip.AddrPort {
	if p.chosen.IsValid() {
		return p.chosen
	}
	keep := granted
	if _, ok := p.held[keep]; !ok {
		for port := range p.held {
			keep = port
			break
		}
	}
	for port, ln := range p.held {
		if port == keep {
			p.serve(ln)
		} else {
			ln.Close()
		}
	}
	p.held = nil
	p.chosen = netip.AddrPortFrom(p.host, keep)
	return p.chosen
}

// Close lets go of what was not handed on.
func (p *ownPort) Close() {
	for _, ln := range p.held {
		ln.Close()
	}
	if p.udp != nil {
		p.udp.Close()
	}
}

// canaryUDP answers the UDP canary.
type canaryUDP struct {
	conn   net.PacketConn
	answer func(context.Context, net.PacketConn) error
}

func (c canaryUDP) Serve(ctx context.Context) error { return c.answer(ctx, c.conn) }

func (c canaryUDP) String() string { return "UDP canary" }

// errPortInUse is what net says in the words of each system.
func errPortInUse(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && strings.Contains(op.Err.Error(), "in use")
}
