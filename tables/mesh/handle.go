package mesh

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// Handle answers a peer on ALPN p2prc-mesh/1. It is a peerapi.Protocol.
func (m *Mesh) Handle(ctx context.Context, peer peerapi.Peer, conn net.Conn, admit func() error) {
	m.mu.Lock()
	t := m.transport
	m.mu.Unlock()
	tc, ok := conn.(*tls.Conn)
	if t == nil || !ok || !t.enter() {
		return
	}
	defer t.wg.Done()
	defer t.cutAtEnd(tc)()
	if err := t.handle(ctx, peer.ID, tc, admit); err != nil {
		m.o.Log.Debug("answering a peer of the mesh", "peer", peer.ID, "err", err)
	}
}

func (t *transport) handle(ctx context.Context, id identity.ID, conn *tls.Conn, admit func() error) error {
	var p *peer
	h, err := t.m.welcome(conn, id, func(h hello) error {
		t.mu.Lock()
		p = t.peer(id)
		t.mu.Unlock()
		if p == nil || !p.spendStream() || admit() != nil {
			return errBusy
		}
		return nil
	})
	if err != nil {
		return err
	}
	if h.kind == kindStream {
		t.offer(ctx, conn)
		return nil
	}
	l := newLine(conn, h.at, false)
	t.mu.Lock()
	p = t.peer(id) // the one of before may have been forgotten meanwhile
	t.mu.Unlock()
	if p != nil {
		t.attach(p, l)
		t.read(p, l)
	}
	return nil
}

// offer gives memberlist a stream, and returns when it is done with it.
func (t *transport) offer(ctx context.Context, conn *tls.Conn) {
	done := make(chan struct{})
	s := newStream(conn, sync.OnceFunc(func() { close(done) }))
	select {
	case t.streams <- s:
		<-done // conn is cut at the end of either, and memberlist closes it then
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
}
