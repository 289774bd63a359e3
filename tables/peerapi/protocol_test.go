package peerapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// echoing admits everyone and gives back what it is sent.
func echoing(_ context.Context, _ peerapi.Peer, conn net.Conn, admit func() error) {
	if admit() == nil {
		io.Copy(conn, conn)
	}
}

func speaking(alpn string, p peerapi.Protocol) func(*peerapi.PortOptions) {
	return func(o *peerapi.PortOptions) { o.Protocols = map[string]peerapi.Protocol{alpn: p} }
}

// speak opens a connection of a protocol that ends with the test.
func (p *proxy) speak(t testing.TB, alpn string, key identity.Key) net.Conn {
	t.Helper()
	o := peerapi.DialOptions{Key: key, ALPN: alpn, Pin: p.key.ID()}.At(p.addr)
	conn, _, err := peerapi.DialProtocol(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// echoes reports whether the other end is there and answers.
func echoes(conn net.Conn) bool {
	if _, err := io.WriteString(conn, "x"); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func TestProtocol(t *testing.T) {
	key := identity.NewKey()
	peers := make(chan peerapi.Peer, 1)
	p := newProxy().serve(t, speaking(peerapi.ALPNSync, func(ctx context.Context, peer peerapi.Peer, conn net.Conn, admit func() error) {
		peers <- peer
		echoing(ctx, peer, conn, admit)
	}))
	conn := p.speak(t, peerapi.ALPNSync, key)
	if !echoes(conn) {
		t.Error("no answer")
	}
	if peer := <-peers; peer.ID != key.ID() || peer.From != p.addr.Addr() && !peer.From.IsLoopback() {
		t.Errorf("the protocol saw %+v", peer)
	}
	if _, err := p.client(t, nil).Hello(t.Context()); err != nil {
		t.Errorf("the API beside it: %v", err)
	}
}

func TestDialProtocol_refuses(t *testing.T) {
	p := newProxy().serve(t, speaking(peerapi.ALPNSync, echoing))
	forbidden := errors.New("forbidden")
	for _, tt := range []struct {
		name   string
		change func(*peerapi.DialOptions)
		is     func(error) bool
	}{
		{"another node", func(o *peerapi.DialOptions) { o.Pin = identity.NewKey().ID() }, func(err error) bool {
			pin, ok := errors.AsType[*identity.PinError](err)
			return ok && pin.Got == p.key.ID()
		}},
		{"a protocol that is not spoken", func(o *peerapi.DialOptions) { o.ALPN = peerapi.ALPNMesh }, func(err error) bool {
			return errors.Is(err, peerapi.ErrNoP2PRC)
		}},
		{"nobody there", func(o *peerapi.DialOptions) { o.Port = 1 }, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{"the filter says no", func(o *peerapi.DialOptions) {
			d := net.Dialer{Control: func(string, string, syscall.RawConn) error { return forbidden }}
			o.Dial = d.DialContext
		}, func(err error) bool { return errors.Is(err, forbidden) }},
		{"nobody answers", func(o *peerapi.DialOptions) {
			o.Timeout = 50 * time.Millisecond
			o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := peerapi.DialOptions{Key: identity.NewKey(), ALPN: peerapi.ALPNSync, Pin: p.key.ID()}.At(p.addr)
			tt.change(&o)
			conn, _, err := peerapi.DialProtocol(t.Context(), o)
			if err == nil {
				conn.Close()
			}
			if err == nil || !tt.is(err) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("no pin", func(t *testing.T) {
		conn, peer, err := peerapi.DialProtocol(t.Context(), peerapi.DialOptions{Key: identity.NewKey(), ALPN: peerapi.ALPNSync}.At(p.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if peer != p.key.ID() {
			t.Errorf("it is %s", peer)
		}
	})
}

func TestProtocol_oldestConnectionGivesWay(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) {
		speaking(peerapi.ALPNSync, echoing)(o)
		o.MaxForEachNode = 2
	})
	key := identity.NewKey()
	var conns []net.Conn
	for range 4 {
		conn := p.speak(t, peerapi.ALPNSync, key)
		if !echoes(conn) {
			t.Fatal("a new connection was refused")
		}
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		if got, want := echoes(conn), i >= 2; got != want {
			t.Errorf("connection %d answers: %t", i, got)
		}
	}
}

// Who fills the room of one protocol leaves the others, and the API, theirs.
func TestProtocol_full(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) {
		o.Protocols = map[string]peerapi.Protocol{peerapi.ALPNSync: echoing, peerapi.ALPNMesh: echoing}
		o.MaxNodes = 1
	})
	first := p.speak(t, peerapi.ALPNSync, identity.NewKey())
	if !echoes(first) {
		t.Fatal("the first was refused")
	}
	if echoes(p.speak(t, peerapi.ALPNSync, identity.NewKey())) {
		t.Error("there was room for two")
	}
	if !echoes(p.speak(t, peerapi.ALPNMesh, identity.NewKey())) {
		t.Error("the other protocol was full too")
	}
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	if _, err := c.Hello(t.Context()); err != nil {
		t.Errorf("the API was full too: %v", err)
	}
	first.Close()
	for deadline := time.Now().Add(wait); !echoes(p.speak(t, peerapi.ALPNSync, identity.NewKey())); {
		if time.Now().After(deadline) {
			t.Fatal("its place is not given to the next")
		}
	}
}

// A peer that the protocol admits may stay silent for hours; one that it does
// not is a stranger.
func TestProtocol_strangersAreCutOff(t *testing.T) {
	known := identity.NewKey()
	protocol := func(ctx context.Context, peer peerapi.Peer, conn net.Conn, admit func() error) {
		if peer.ID == known.ID() && admit() != nil {
			return
		}
		io.Copy(io.Discard, conn)
	}
	inBubble(t, speaking(peerapi.ALPNMesh, protocol), func(t *testing.T, _ *proxy, l *pipes) {
		life := func(key identity.Key) time.Duration {
			o := peerapi.DialOptions{Key: key, ALPN: peerapi.ALPNMesh, Host: "127.0.0.1", Dial: l.Dial}
			conn, _, err := peerapi.DialProtocol(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Hour))
			start := time.Now()
			conn.Read(make([]byte, 1))
			return time.Since(start)
		}
		if got := life(identity.NewKey()); got > 20*time.Second {
			t.Errorf("a stranger was kept for %s", got)
		}
		if got := life(known); got < time.Hour {
			t.Errorf("a guest was cut off after %s", got)
		}
	})
}

func TestProtocol_stopEndsIt(t *testing.T) {
	ended := make(chan error, 1)
	p := newProxy().serve(t, speaking(peerapi.ALPNSync, func(ctx context.Context, _ peerapi.Peer, conn net.Conn, admit func() error) {
		if err := admit(); err != nil {
			t.Error(err)
		}
		io.Copy(conn, conn)
		ended <- ctx.Err()
	}))
	if !echoes(p.speak(t, peerapi.ALPNSync, identity.NewKey())) {
		t.Fatal("no answer")
	}
	p.stop()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the connection ended before ctx did")
		}
	default:
		t.Error("Serve did not wait for the protocol")
	}
}
