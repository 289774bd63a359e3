package proof

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"p2prc/tables"
)

// Canary answers for a node at the end of its tunnel. Its key never leaves the
// process, so that nobody between can answer in its place. It prints as [hidden].
type Canary struct{ key []byte }

// NewCanary makes a canary that only this process can be.
func NewCanary() *Canary { return &Canary{key: []byte(rand.Text())} }

func (*Canary) String() string   { return "[hidden]" }
func (*Canary) GoString() string { return "[hidden]" }

// Answer reads one question from conn and answers it. Anything else is not
// answered. The caller closes conn.
func (c *Canary) Answer(conn net.Conn) {
	q := make([]byte, askSize)
	if err := conn.SetDeadline(time.Now().Add(answerWait)); err != nil {
		return
	}
	if _, err := io.ReadFull(conn, q); err != nil {
		return
	}
	if nonce, ok := nonceOf(q, canaryMagic); ok {
		_, _ = conn.Write(mac(c.key, nonce)) // whoever asked may be gone
	}
}

// ServeUDP answers datagrams until ctx ends.
func (c *Canary) ServeUDP(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := answerUDP(conn, func(q []byte) []byte {
		nonce, ok := nonceOf(q, canaryMagic)
		if !ok {
			return nil
		}
		return mac(c.key, nonce)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("UDP canary: %w", err)
}

// answerUDP answers datagrams until conn is closed. A client that went away
// can make a read fail, which says nothing about the socket.
func answerUDP(conn net.PacketConn, answer func(q []byte) []byte) error {
	buf := make([]byte, 2*askSize)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue
		}
		if a := answer(buf[:n]); a != nil {
			_, _ = conn.WriteTo(a, from) // UDP: nobody is promised an answer
		}
	}
}

// Probe dials the node's own mapping at its public address: only this very
// canary can answer. The duration is of the whole exchange.
func (c *Canary) Probe(ctx context.Context, proto tables.Protocol, at netip.AddrPort) (time.Duration, error) {
	start := time.Now()
	q := question(canaryMagic)
	nonce, _ := nonceOf(q, canaryMagic)
	if err := ask(ctx, proto, at, q, mac(c.key, nonce)); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}
