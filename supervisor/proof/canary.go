package proof

import (
	"context"
	"crypto/hmac"
	"fmt"
	"io"
	"net"
	"time"
)

// Canary proves that a way through the outside world leads back to this node:
// only the node itself knows the secret, which it makes up at every start.
type Canary struct {
	sum func(nonce []byte) []byte // knows the secret: a function prints as an address
}

// NewCanary makes a canary with a secret of its own.
func NewCanary() *Canary {
	secret := Key(newNonce())
	return &Canary{sum: func(nonce []byte) []byte { return secret.sum(nonce) }}
}

func (*Canary) String() string   { return hidden }
func (*Canary) GoString() string { return hidden }

// Answer answers one question on a connection of which nothing was read yet.
// The caller closes the connection.
func (c *Canary) Answer(conn net.Conn) { answerConn(conn, canaryLen, c.answer) }

// ServeUDP answers datagrams until ctx ends, then closes conn.
func (c *Canary) ServeUDP(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	if err := answerPackets(conn, canaryLen, c.answer); ctx.Err() == nil {
		return fmt.Errorf("answering for the UDP canary: %w", err)
	}
	return ctx.Err()
}

func (c *Canary) answer(q []byte) []byte {
	if len(q) != canaryLen || string(q[:magicLen]) != canaryMagic {
		return nil
	}
	return c.sum(q[magicLen:])
}

// Probe sends a nonce the public way and waits for this very node to
// answer it, for exchangeWait at most. Over UDP it asks again while it waits: a
// fresh UDP proxy of frp answers its first datagram after 0.5 s only
// (0.61-0.70.1), and datagrams get lost.
func (c *Canary) Probe(ctx context.Context, w Way) (rtt time.Duration, err error) {
	q := c.Question()
	start := time.Now()
	err = w.ask(ctx, q.Bytes, q.Right)
	return time.Since(start), err
}

// Question is one that only this node can answer.
func (c *Canary) Question() Question {
	nonce := newNonce()
	want := c.sum(nonce)
	return Question{append([]byte(canaryMagic), nonce...), func(got []byte) bool { return hmac.Equal(got, want) }}
}

// answerConn answers one question of size bytes.
func answerConn(conn net.Conn, size int, answer answerer) {
	q := make([]byte, size)
	if conn.SetDeadline(time.Now().Add(strangerWait)) != nil {
		return
	}
	if _, err := io.ReadFull(conn, q); err != nil {
		return
	}
	if a := answer(q); a != nil {
		_, _ = conn.Write(a) // who does not wait for the answer does not get it
	}
}

// brokenSocket is how many reads in a row may fail before a UDP socket is given
// up. Single ones are normal: Windows reports that an earlier answer found
// nobody, or that a datagram was too long.
const brokenSocket = 100

// answerPackets answers datagrams of size bytes until the socket is closed.
func answerPackets(conn net.PacketConn, size int, answer answerer) error {
	q := make([]byte, size+1) // one more, to see that a longer one is none
	failed := 0
	for {
		n, from, err := conn.ReadFrom(q)
		if err != nil {
			if failed++; failed >= brokenSocket || isClosed(err) {
				return err
			}
			continue
		}
		failed = 0
		if a := answer(q[:n]); a != nil {
			_, _ = conn.WriteTo(a, from) // lost datagrams are asked for again
		}
	}
}
