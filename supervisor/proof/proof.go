// Package proof asks the world whether a port is really there: it dials from
// outside what a reverse proxy holds, and a node's own mapping through its
// tunnel. It never sends a byte to a user's service. Not here: who may have
// the port (tables/lease), what frp says of it (admin), and what follows for a
// row (supervisor).
//
// Question and answer are the same over TCP and UDP: 8 bytes of magic and a
// 32-byte nonce, answered by 32 bytes of HMAC-SHA256. The answer is shorter
// than the question, so that nobody's traffic is made larger.
package proof

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"p2prc/tables"
)

const (
	canaryMagic = "\x00p2prc\x01C"
	guardMagic  = "\x00p2prc\x01G"
	nonceSize   = 32
	askSize     = len(canaryMagic) + nonceSize

	// answerWait is how long a connection may take to ask.
	answerWait = 5 * time.Second
	// udpAgain is when a datagram that was not answered is sent once more: a
	// fresh UDP proxy of frp answers its first only after 0.5 s (0.65.0).
	udpAgain = 100 * time.Millisecond
)

var (
	errRefused = errors.New("connection refused")
	errSilent  = errors.New("no answer in time; a firewall may be in the way")
	errCut     = errors.New("the connection was closed without an answer")
	errOther   = errors.New("something else answers there")
)

// mac is the answer to a nonce.
func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// question is magic and a fresh nonce.
func question(magic string) []byte {
	q := make([]byte, askSize)
	copy(q, magic)
	_, _ = rand.Read(q[len(magic):]) // never fails
	return q
}

// nonceOf is the nonce of a question with that magic.
func nonceOf(q []byte, magic string) ([]byte, bool) {
	if len(q) != askSize || string(q[:len(magic)]) != magic {
		return nil, false
	}
	return q[len(magic):], true
}

// ask dials and returns once the wanted answer came, or why it did not.
func ask(ctx context.Context, proto tables.Protocol, at netip.AddrPort, q, want []byte) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, proto.FRP()+"4", at.String())
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if proto == tables.UDP {
		return askUDP(ctx, conn, q, want)
	}
	if _, err := conn.Write(q); err != nil {
		return plain(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return plain(err)
	}
	if !hmac.Equal(got, want) {
		return errOther
	}
	return nil
}

// askUDP repeats the question: datagrams get lost. Its socket is connected, so
// that only answers from there are seen; a wrong one may be an old one.
func askUDP(ctx context.Context, conn net.Conn, q, want []byte) error {
	got := make([]byte, 2*len(want))
	last := errSilent
	for {
		if _, err := conn.Write(q); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return plain(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(udpAgain)); err != nil {
			return plain(err)
		}
		if ctx.Err() != nil {
			return last
		}
		n, err := conn.Read(got)
		switch {
		case err == nil && hmac.Equal(got[:n], want):
			return nil
		case err == nil:
			last = errOther
		case errors.Is(err, syscall.ECONNREFUSED):
			last = errRefused
			select { // a port that opens in a moment
			case <-ctx.Done():
			case <-time.After(udpAgain):
			}
		}
	}
}

// plain says in plain words what a dial or read came to.
func plain(err error) error {
	switch e, _ := errors.AsType[net.Error](err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errRefused
	case e != nil && e.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errSilent
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return errCut
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}
