package proof

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"p2prc/tables"
)

// Why a port did not prove itself, in words for a row's reason. Other errors
// are what the system said: no route, too many open files.
var (
	ErrRefused  = errors.New("connection refused")
	ErrSilent   = errors.New("no answer in time; a firewall may be in the way")
	ErrCut      = errors.New("the connection was closed without an answer")
	ErrStranger = errors.New("something else answers there")
)

const (
	// exchangeWait bounds one proof. A SYN that was lost is sent again after
	// 1 s, and a round trip around the world takes 0.3 s.
	exchangeWait = 2 * time.Second

	// askAgain is how often a datagram is sent until it is answered.
	askAgain = 250 * time.Millisecond
)

// exchange sends the question and waits for the right answer.
func exchange(ctx context.Context, proto tables.Protocol, addr netip.AddrPort, q []byte, right func([]byte) bool) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeWait)
	defer cancel()
	conn, err := dial(ctx, proto, addr)
	if err != nil {
		return explain(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if proto == tables.UDP {
		err = askDatagrams(conn, q, right)
	} else {
		err = askStream(conn, q, right)
	}
	if err != nil {
		return explain(ctx, err)
	}
	return nil
}

func dial(ctx context.Context, proto tables.Protocol, addr netip.AddrPort) (net.Conn, error) {
	// No keep-alive: the connection is over before one would be sent.
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	return d.DialContext(ctx, proto.Transport().FRP(), addr.String())
}

func askStream(conn net.Conn, q []byte, right func([]byte) bool) error {
	if _, err := conn.Write(q); err != nil {
		return err
	}
	got := make([]byte, answerLen)
	n, err := io.ReadFull(conn, got)
	switch {
	case err == nil && right(got):
		return nil
	case n > 0: // an SSH banner, say
		return ErrStranger
	}
	return err
}

// askDatagrams ends when conn is closed, at the latest.
func askDatagrams(conn net.Conn, q []byte, right func([]byte) bool) error {
	got := make([]byte, answerLen+1)
	stranger := false
	for {
		if _, err := conn.Write(q); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(askAgain)); err != nil {
			return orStranger(stranger, err)
		}
		for {
			n, err := conn.Read(got)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return orStranger(stranger, err)
			}
			if right(got[:n]) {
				return nil
			}
			stranger = true // and yet a late answer to an earlier datagram may be right
		}
	}
}

func orStranger(stranger bool, err error) error {
	if stranger {
		return ErrStranger
	}
	return err
}

// explain puts what net says into plain words, without the addresses, which
// the caller knows.
func explain(ctx context.Context, err error) error {
	var net net.Error
	var sys *os.SyscallError
	switch {
	case errors.Is(err, ErrStranger):
		return ErrStranger
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil, errors.As(err, &net) && net.Timeout():
		return ErrSilent
	case isRefused(err):
		return ErrRefused
	case errors.Is(err, io.EOF), isReset(err):
		return ErrCut
	case errors.As(err, &sys):
		return sys
	}
	return err
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
