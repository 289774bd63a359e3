package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"

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
	host     netip.Addr
	fixed    uint16 // from --listen; 0 for any
	serve    func(net.Listener)
	serveUDP func(net.PacketConn)
	serveAll func(net.Listener)
	ready    chan struct{} // closed once a port is chosen

	mu     sync.Mutex              // guards the rest
	held   map[uint16]net.Listener // candidates, until one is chosen
	chosen netip.AddrPort
	udp    net.PacketConn // the UDP canary's, nil without one
	named  net.Listener   // of the HTTP and HTTPS canaries, nil without one
}

// newOwnPort binds nothing yet.
func newOwnPort(s *server) *ownPort {
	p := &ownPort{host: s.o.Listen.Addr(), fixed: s.o.Listen.Port(), held: make(map[uint16]net.Listener), ready: make(chan struct{})}
	if !p.host.IsValid() {
		p.host = loopback
	}
	p.serve = func(ln net.Listener) {
		s.tree.Add(peerapi.NewPort(ln, peerapi.PortOptions{
			Key: s.key, Info: s.info, Canary: s.canary.Answer, Log: s.o.Log.With("component", "port"),
		}))
	}
	p.serveAll = func(ln net.Listener) {
		s.tree.Add(peerapi.NewPort(ln, peerapi.PortOptions{
			Key: s.key, Info: s.info, Plain: s.canary, Log: s.o.Log.With("component", "canary by domain"),
			Protocols: map[string]peerapi.Protocol{
				peerapi.ALPNCanary: func(_ context.Context, _ peerapi.Peer, conn net.Conn, _ func() error) { s.canary.Answer(conn) },
			},
		}))
	}
	p.serveUDP = func(conn net.PacketConn) { s.tree.Add(canaryUDP{conn, s.canary.ServeUDP}) }
	return p
}

// udpAddr is where the UDP canary answers, which it does from the first call on.
func (p *ownPort) udpAddr() (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.udp == nil {
		conn, err := net.ListenPacket("udp4", net.JoinHostPort(p.host.String(), "0"))
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("opening the UDP canary: %w", err)
		}
		p.udp = conn
		p.serveUDP(conn)
	}
	return netip.MustParseAddrPort(p.udp.LocalAddr().String()), nil
}

// namedAddr is where the HTTP and HTTPS canaries answer, which they do from the
// first call on.
func (p *ownPort) namedAddr() (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.named == nil {
		ln, err := net.Listen("tcp4", net.JoinHostPort(p.host.String(), "0"))
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("opening the HTTP canary: %w", err)
		}
		p.named = ln
		p.serveAll(ln)
	}
	return netip.MustParseAddrPort(p.named.Addr().String()), nil
}

// candidates are ports held here, out of the pool. lent is the port that the
// proxy lent last time, and was the one that the own port was served on then;
// both are 0 if it never did. Where the two were not the same number something at the
// proxy's end of it is in the way here, most often the proxy itself, on this
// machine: its number is then not even tried, or the proxy could not hold it.
func (p *ownPort) candidates(pool tables.PortRange, lent, was uint16) ([]uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chosen.IsValid() {
		return []uint16{p.chosen.Port()}, nil
	}
	if p.fixed != 0 {
		if err := p.hold(p.fixed); err != nil {
			return nil, fail(NoPort, "pass another port with --listen", "opening the node's own port: %w", err)
		}
		return []uint16{p.fixed}, nil
	}
	if lent != 0 && was != 0 && was != lent && p.hold(was) == nil {
		return nil, nil // the numbers differ again
	}
	if lent != 0 && (was == lent || was == 0) {
		_ = p.hold(lent) // taken meanwhile: the numbers differ then
	}
	for tries := 0; len(p.held) < candidateCount && tries < 10*candidateCount; tries++ {
		if port := pool.First + uint16(rand.IntN(pool.Len())); port != lent {
			_ = p.hold(port) // taken: try the next
		}
	}
	if len(p.held) == 0 {
		if err := p.hold(0); err != nil {
			return nil, fail(NoPort, "pass a free one with --listen", "opening the node's own port: %w", err)
		}
	}
	ports := make([]uint16, 0, len(p.held))
	if _, ok := p.held[lent]; ok {
		ports = append(ports, lent)
	}
	for port := range p.held {
		if port != lent {
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
	p.mu.Lock()
	defer p.mu.Unlock()
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
	close(p.ready)
	return p.chosen
}

// Close lets go of what was not handed on.
func (p *ownPort) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ln := range p.held {
		ln.Close()
	}
	if p.udp != nil {
		p.udp.Close()
	}
	if p.named != nil {
		p.named.Close()
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
