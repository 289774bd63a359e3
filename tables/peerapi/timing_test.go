package peerapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// pipes is a listener on nothing, whose time is the bubble's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
	fail   chan error // errors that Accept gives first
}

func newPipes() *pipes {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{}), fail: make(chan error, 100)}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case err := <-l.fail:
		return nil, err
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error { l.close(); return nil }

func (l *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	}
}

// inBubble runs a test with a port and with time that costs nothing.
func inBubble(t *testing.T, change func(*peerapi.PortOptions), test func(*testing.T, *proxy, *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		p := newProxy()
		p.serveOn(t, l, change)
		test(t, p, l)
		p.stop()
	})
}

// lifeOf opens a connection, lets talk say something, and measures how long the
// port keeps it.
func lifeOf(t *testing.T, l *pipes, talk func(net.Conn)) time.Duration {
	t.Helper()
	c, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		talk(c)
	}()
	io.Copy(io.Discard, c)
	life := time.Since(start)
	c.Close()
	<-done
	return life
}

// trickle writes s, one byte a pause, until it is cut off.
func trickle(s string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		for {
			for i := range len(s) {
				if _, err := c.Write([]byte{s[i]}); err != nil {
					return
				}
				time.Sleep(pause) // the bubble's time
			}
		}
	}
}

func TestPort_slowStrangersAreCutOff(t *testing.T) {
	canary := func(o *peerapi.PortOptions) { o.Canary = func(c net.Conn) { io.Copy(io.Discard, c) } }
	inBubble(t, canary, func(t *testing.T, _ *proxy, l *pipes) {
		for _, tt := range []struct {
			name string
			talk func(net.Conn)
			max  time.Duration
		}{
			{"silent", func(net.Conn) {}, 5 * time.Second},
			{"half a header", func(c net.Conn) { io.WriteString(c, "GET / HT") }, 5 * time.Second},
			{"a header that never ends", trickle("GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 9999), time.Millisecond*500), 5 * time.Second},
			{"half a handshake", func(c net.Conn) { c.Write([]byte{0x16, 3, 1, 0, 200, 1}) }, 5 * time.Second},
			{"a slow handshake", trickle("\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb", time.Second), 5 * time.Second},
			{"a canary that never ends", trickle("\x00", time.Second), 20 * time.Second},
			{"a slow body", func(c net.Conn) {
				io.WriteString(c, "POST /server_info HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
				trickle("x", time.Second)(c)
			}, 20 * time.Second},
		} {
			if got := lifeOf(t, l, tt.talk); got > tt.max {
				t.Errorf("%s: kept for %s, want %s at most", tt.name, got, tt.max)
			}
		}
	})
}

func TestPort_slowNodesAreCutOff(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *proxy, l *pipes) {
		known, stranger := identity.NewKey(), identity.NewKey()
		p.admit(known.ID())
		hello := "GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"
		after := func(key identity.Key, alpn string, talk func(net.Conn)) func(net.Conn) {
			return func(c net.Conn) {
				tc := tls.Client(c, identity.ClientTLS(key, "", []string{alpn}))
				if err := tc.Handshake(); err != nil {
					t.Error(err)
					return
				}
				go io.Copy(io.Discard, tc)
				talk(tc)
			}
		}
		for _, tt := range []struct {
			name string
			talk func(net.Conn)
			min  time.Duration
			max  time.Duration
		}{
			{"silent after the handshake", after(known, peerapi.ALPNAPI, func(net.Conn) {}), 0, 5 * time.Second},
			{"silent before the proof", after(known, peerapi.ALPNJoin, func(net.Conn) {}), 0, 5 * time.Second},
			{"a slow proof", after(known, peerapi.ALPNJoin, trickle("x", time.Second)), 0, 5 * time.Second},
			{"known, idle after a call", after(known, peerapi.ALPNAPI, func(c net.Conn) { io.WriteString(c, hello) }), time.Minute, time.Minute},
			{"stranger, idle after a call", after(stranger, peerapi.ALPNAPI, func(c net.Conn) { io.WriteString(c, hello) }), 0, time.Second},
			{"stranger, idle after nonsense", after(stranger, peerapi.ALPNAPI, func(c net.Conn) { io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n") }), 0, time.Second},
			{"known, a slow body", after(known, peerapi.ALPNAPI, func(c net.Conn) {
				io.WriteString(c, "POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
				trickle(" ", time.Second)(c)
			}), 0, 15 * time.Second},
		} {
			if got := silently(t, l, tt.talk); got < tt.min || got > tt.max {
				t.Errorf("%s: kept for %s, want %s to %s", tt.name, got, tt.min, tt.max)
			}
		}
	})
}

// silently is lifeOf for a talk that reads by itself: the port's end is watched.
func silently(t *testing.T, l *pipes, talk func(net.Conn)) time.Duration {
	t.Helper()
	ours, theirs := net.Pipe()
	w := &watched{Conn: theirs, closed: make(chan struct{})}
	l.conns <- w
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		talk(ours)
	}()
	<-w.closed
	life := time.Since(start)
	ours.Close()
	<-done
	return life
}

type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// Out of descriptors, the port waits, tells it once, and goes on (F9).
func TestPort_outOfDescriptors(t *testing.T) {
	var logged lockedBuffer
	l := newPipes()
	for range 20 {
		l.fail <- &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	synctest.Test(t, func(t *testing.T) {
		l.conns, l.closed = make(chan net.Conn), make(chan struct{}) // of the bubble
		l.fail = refill(l.fail)
		l.close = sync.OnceFunc(func() { close(l.closed) })
		start := time.Now()
		p := newProxy()
		p.serveOn(t, l, func(o *peerapi.PortOptions) { o.Log = textLog(&logged) })
		key := identity.NewKey()
		p.admit(key.ID())
		c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: "192.0.2.1", Dial: l.Dial, Timeout: time.Minute})
		defer c.Close()
		if _, err := c.Hello(t.Context()); err != nil {
			t.Error(err)
		}
		// 5 ms doubled seven times, then a second each.
		if took := time.Since(start); took < 10*time.Second || took > 15*time.Second {
			t.Errorf("20 errors took %s: a busy loop, or a stall", took)
		}
		p.stop()
	})
	if n := strings.Count(logged.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, logged.String())
	}
}

func refill(from chan error) chan error {
	to := make(chan error, cap(from))
	for len(from) > 0 {
		to <- <-from
	}
	return to
}

// A call may take longer than its request: the time to read is not the time to answer.
func TestPort_longCalls(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *proxy, l *pipes) {
		easy := p.reserve
		p.reserve = func(ctx context.Context, r peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
			select {
			case <-time.After(12 * time.Second):
				return easy(ctx, r)
			case <-ctx.Done():
				return peerapi.ReserveReply{}, ctx.Err()
			}
		}
		key := identity.NewKey()
		p.admit(key.ID())
		c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: "192.0.2.1", Dial: l.Dial})
		defer c.Close()
		if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
			t.Error(err)
		}
		p.reserve = func(ctx context.Context, _ peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
			<-ctx.Done()
			return peerapi.ReserveReply{}, ctx.Err()
		}
		start := time.Now()
		_, err := c.Reserve(t.Context(), reserveOne("a"))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 15*time.Second {
			t.Errorf("given up after %s: %v", took, err)
		}
	})
}

// The room of a node that left is free again.
func TestPort_fullForAWhile(t *testing.T) {
	inBubble(t, func(o *peerapi.PortOptions) { o.MaxNodes = 1 }, func(t *testing.T, p *proxy, l *pipes) {
		for i := range 5 {
			key := identity.NewKey()
			p.admit(key.ID())
			c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: "192.0.2.1", Dial: l.Dial})
			if _, err := c.Hello(t.Context()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
			c.Close()
			synctest.Wait()
		}
	})
}

// An idle connection is not used when the proxy is about to close it.
func TestClient_idleConnection(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *proxy, l *pipes) {
		key := identity.NewKey()
		p.admit(key.ID())
		dials := 0
		c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: "192.0.2.1", Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
			dials++
			return l.Dial(ctx, n, a)
		}})
		defer c.Close()
		for i, idle := range []time.Duration{0, time.Second, 29 * time.Second, 31 * time.Second, 5 * time.Minute} {
			time.Sleep(idle) // the bubble's time
			if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
				t.Error(err)
			}
			if want := []int{1, 1, 1, 2, 3}[i]; dials != want {
				t.Errorf("after %s idle: %d dials, want %d", idle, dials, want)
			}
		}
	})
}

func TestEvents(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *proxy, l *pipes) {
		key := identity.NewKey()
		p.admit(key.ID())
		c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: "192.0.2.1", Dial: l.Dial})
		heard := make(chan peerapi.Event)
		ended := make(chan error)
		listen := func(ctx context.Context) {
			time.Sleep(time.Minute) // the bubble's: the proxy has noticed that the last stream ended
			go func() { ended <- c.Events(ctx, func(ev peerapi.Event) { heard <- ev }) }()
		}

		listen(t.Context())
		for range 20 { // longer than any other answer may take
			time.Sleep(10 * time.Second) // the bubble's time
			p.events <- peerapi.Event{Kind: peerapi.EventPing}
			if ev := <-heard; ev.Kind != peerapi.EventPing {
				t.Errorf("heard %v", ev)
			}
		}
		p.events <- peerapi.Event{Kind: peerapi.EventClosed, Name: "web"}
		if ev := <-heard; ev.Kind != peerapi.EventClosed || ev.Name != "web" {
			t.Errorf("heard %v", ev)
		}
		start := time.Now()
		if err := <-ended; err == nil || time.Since(start) != 30*time.Second {
			t.Errorf("silence ended after %s with %v", time.Since(start), err)
		}

		for name, bad := range map[string]peerapi.Event{
			"kind": {Kind: "a b"}, "name": {Kind: peerapi.EventClosed, Name: "../x"},
			"length": {Kind: peerapi.EventClosed, Name: strings.Repeat("x", 5000)},
		} {
			listen(t.Context())
			p.events <- bad
			if err := <-ended; err == nil {
				t.Errorf("bad %s: no error", name)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		listen(ctx)
		p.events <- peerapi.Event{Kind: "from-the-future"}
		if ev := <-heard; ev.Kind != "from-the-future" {
			t.Errorf("heard %v", ev)
		}
		start = time.Now()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
			t.Errorf("cancelled, but it took %s: %v", time.Since(start), err)
		}

		listen(t.Context())
		p.events <- peerapi.Event{Kind: peerapi.EventStop}
		<-heard
		p.stop()
		if err := <-ended; err == nil {
			t.Error("the stream outlived the proxy")
		}
	})
}

// A node that takes no event for ten seconds is given up.
func TestEvents_nodeThatDoesNotRead(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *proxy, l *pipes) {
		key := identity.NewKey()
		p.admit(key.ID())
		c, err := l.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		tc := tls.Client(c, identity.ClientTLS(key, "", []string{peerapi.ALPNAPI}))
		if _, err := io.WriteString(tc, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := tc.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		p.events <- peerapi.Event{Kind: peerapi.EventPing}
		select {
		case p.events <- peerapi.Event{Kind: peerapi.EventPing}: // nobody but this node listens
			t.Error("the second event was sent")
		case <-time.After(time.Minute):
		}
		if got, err := io.ReadAll(c); err != nil && !errors.Is(err, io.ErrClosedPipe) || len(got) > 1000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
