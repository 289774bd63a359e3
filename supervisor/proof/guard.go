package proof

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables"
)

// guardTalks is how many strangers may talk to one guard at once; more are
// hung up on.
const guardTalks = 8

// Guard takes a port of the reverse proxy and answers witnesses there, under
// the lease ID, until it is closed. After Close the port is free to bind.
func Guard(proto tables.Protocol, bind netip.AddrPort, leaseID string, key []byte) (io.Closer, error) {
	answer := func(q []byte) []byte {
		nonce, ok := nonceOf(q, guardMagic)
		if !ok {
			return nil
		}
		return mac(key, []byte(leaseID), nonce)
	}
	if proto == tables.UDP {
		conn, err := net.ListenPacket("udp4", bind.String())
		if err != nil {
			return nil, err
		}
		g := &udpGuard{conn: conn}
		g.wg.Go(func() { _ = answerUDP(conn, answer) }) // ends with Close
		return g, nil
	}
	ln, err := net.Listen("tcp4", bind.String())
	if err != nil {
		return nil, err
	}
	g := &tcpGuard{ln: ln, answer: answer, done: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	g.wg.Go(g.serve)
	return g, nil
}

type udpGuard struct {
	conn net.PacketConn
	wg   sync.WaitGroup
}

func (g *udpGuard) Close() error {
	err := g.conn.Close()
	g.wg.Wait()
	return err
}

type tcpGuard struct {
	ln     net.Listener
	answer func(q []byte) []byte
	done   chan struct{} // closed by Close
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the rest
	conns  map[net.Conn]struct{}
	closed bool
}

// Close lets the port go and hangs up on everybody.
func (g *tcpGuard) Close() error {
	close(g.done)
	err := g.ln.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
	return err
}

func (g *tcpGuard) serve() {
	for pause := time.Millisecond; ; {
		conn, err := g.ln.Accept()
		if err != nil {
			if !isTemporary(err) { // closed, by us or for good
				return
			}
			select { // out of descriptors
			case <-g.done:
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, 100*time.Millisecond)
			continue
		}
		pause = time.Millisecond
		if !g.take(conn) {
			conn.Close()
			continue
		}
		g.wg.Go(func() { g.talk(conn) })
	}
}

func (g *tcpGuard) take(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.conns) >= guardTalks {
		return false
	}
	g.conns[conn] = struct{}{}
	return true
}

func (g *tcpGuard) talk(conn net.Conn) {
	defer func() {
		conn.Close()
		g.mu.Lock()
		delete(g.conns, conn)
		g.mu.Unlock()
	}()
	if err := conn.SetDeadline(time.Now().Add(answerWait)); err != nil {
		return
	}
	q := make([]byte, askSize)
	if _, err := io.ReadFull(conn, q); err != nil {
		return
	}
	if a := g.answer(q); a != nil {
		_, _ = conn.Write(a) // the witness may be gone
	}
}

// isTemporary tells a shortage, which passes, from a listener that is closed.
func isTemporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}
