package proof

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables"
	"p2prc/tables/lease"
)

// guardConns is how many connections a TCP guard speaks to at once. A witness
// needs one, for milliseconds; strangers beyond it are dropped.
const guardConns = 4

// Guard takes a port and answers witnesses who know the lease until it is
// closed; strangers get nothing. Close returns when the port is free to be
// bound again. An error that Is lease.ErrInUse says that the port cannot be had
// here, as opposed to sockets at all.
//
// The port is bound exactly as frps will bind it (0.61-0.70.1: net.Listen and
// net.ListenUDP, "tcp" and "udp", on proxyBindAddr, which opens 0.0.0.0 for IPv6
// too), or else what stands in frps's way would not stand in the guard's. The
// zero address is 0.0.0.0.
func Guard(proto tables.Protocol, bind netip.AddrPort, leaseID string, key []byte) (io.Closer, error) {
	if !bind.Addr().IsValid() {
		bind = netip.AddrPortFrom(netip.IPv4Unspecified(), bind.Port())
	}
	answer := guardAnswer(leaseTag(leaseID), key)
	if proto == tables.UDP {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(bind))
		if err != nil {
			return nil, bindError(err)
		}
		g := &udpGuard{conn: conn}
		g.done.Go(func() { _ = answerPackets(conn, guardLen, answer) })
		return g, nil
	}
	ln, err := net.Listen("tcp", bind.String())
	if err != nil {
		return nil, bindError(err)
	}
	g := &tcpGuard{ln: ln, answer: answer, closing: make(chan struct{}), conns: make(map[net.Conn]bool)}
	g.done.Go(g.accept)
	return g, nil
}

// bindError tells a port that cannot be had from a host that is out of sockets.
func bindError(err error) error {
	if portUnavailable(err) {
		return fmt.Errorf("%w: %w", lease.ErrInUse, err)
	}
	return err
}

func leaseTag(leaseID string) []byte {
	sum := sha256.Sum256([]byte(leaseID))
	return sum[:leaseLen]
}

func guardAnswer(tag []byte, key Key) answerer {
	return func(q []byte) []byte {
		if len(q) != guardLen || string(q[:magicLen]) != guardMagic || string(q[magicLen:magicLen+leaseLen]) != string(tag) {
			return nil
		}
		return key.sum(q[magicLen:])
	}
}

type udpGuard struct {
	conn *net.UDPConn
	done sync.WaitGroup
}

func (g *udpGuard) Close() error {
	err := g.conn.Close()
	g.done.Wait()
	return err
}

type tcpGuard struct {
	ln      net.Listener
	answer  answerer
	closing chan struct{}
	done    sync.WaitGroup

	mu    sync.Mutex        // guards conns
	conns map[net.Conn]bool // nil once closed
}

func (g *tcpGuard) Close() error {
	g.mu.Lock()
	open := g.conns
	g.conns = nil
	g.mu.Unlock()
	if open == nil {
		return net.ErrClosed
	}
	close(g.closing)
	err := g.ln.Close()
	for conn := range open {
		// A reset leaves no state behind that might keep the port.
		if tc, ok := conn.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		conn.Close()
	}
	g.done.Wait()
	return err
}

// How long accept pauses after an error such as too many open files.
const (
	acceptWait    = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

func (g *tcpGuard) accept() {
	wait := acceptWait
	for {
		conn, err := g.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-g.closing:
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, maxAcceptWait)
			continue
		}
		wait = acceptWait
		if !g.keep(conn) {
			conn.Close()
			continue
		}
		g.done.Go(func() {
			answerConn(conn, guardLen, g.answer)
			g.drop(conn)
		})
	}
}

func (g *tcpGuard) keep(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil || len(g.conns) >= guardConns {
		return false
	}
	g.conns[conn] = true
	return true
}

func (g *tcpGuard) drop(conn net.Conn) {
	conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}
