package peerapi

import (
	"net"
	"net/http"
	"sync"
)

// handover gives connections that are already open to an http.Server. For the
// server it is a listener.
type handover struct {
	addr   net.Addr
	conns  chan *handed
	closed chan struct{}
	close  func()
}

// handed is a connection in the hands of an http.Server. It also hides that it
// may be a *tls.Conn, with which net/http would insist on its own ALPNs.
type handed struct {
	net.Conn
	guest *guest // nil under plain HTTP
	done  chan struct{}
}

func newHandover(addr net.Addr) *handover {
	closed := make(chan struct{})
	return &handover{
		addr: addr, conns: make(chan *handed), closed: closed,
		close: sync.OnceFunc(func() { close(closed) }),
	}
}

// serve returns when the server is done with the connection and with its last
// handler.
func (h *handover) serve(conn net.Conn, g *guest) {
	c := &handed{Conn: conn, guest: g, done: make(chan struct{})}
	select {
	case h.conns <- c:
		<-c.done
	case <-h.closed:
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.close()
	return nil
}

func (h *handover) Addr() net.Addr { return h.addr }

// connState is the server's ConnState hook: StateClosed comes once for each
// connection that it accepted, from the goroutine that ran its handlers.
func connState(c net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		close(c.(*handed).done)
	}
}

// CloseWrite lets net/http say goodbye before it closes on a peer that is still
// sending: otherwise a reset may take the answer away (net/http, rstAvoidanceDelay).
func (h *handed) CloseWrite() error {
	if w, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// unread is a connection whose first byte was already read. It gives it again.
type unread struct {
	net.Conn
	first []byte // one byte, then nil
}

func (u *unread) Read(p []byte) (int, error) {
	if len(u.first) == 0 || len(p) == 0 {
		return u.Conn.Read(p)
	}
	n := copy(p, u.first)
	u.first = u.first[n:]
	return n, nil
}

func (u *unread) CloseWrite() error { return (&handed{Conn: u.Conn}).CloseWrite() }
