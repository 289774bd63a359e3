package peerapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables/identity"
)

// What a connection may take, so that none is held by saying little.
const (
	firstByteWait = 5 * time.Second
	handshakeWait = 5 * time.Second
	joinWait      = 5 * time.Second
	headerWait    = 5 * time.Second
	requestWait   = 10 * time.Second // header and body: 1 MiB in 10 s is what a slow line still does
	answerWait    = 30 * time.Second // a service may have to ask others before it answers
	idleWait      = time.Minute      // clients let go after half of it
	strangerLife  = 20 * time.Second // in all, for whoever is not admitted
	maxHeader     = 8 << 10
)

// Limits of PortOptions where they are zero. 1,024 descriptors are the usual
// allowance of a process that did not ask for more; Go raises it to the hard
// limit, which is 4,096 at least on today's systems.
const (
	defaultStrangers = 256
	defaultNodes     = 2048
	defaultEach      = 8
)

// The first bytes that are not HTTP.
const (
	byteTLS    = 0x16
	byteCanary = 0x00
)

// PortOptions describes a node's public port. Key and Info must be set.
type PortOptions struct {
	Key  identity.Key
	Info func() ServerInfo

	// Canary is given every connection whose first byte is 0x00, with that byte
	// still in it, and closed after it returns. Nil: there is no canary here.
	Canary func(net.Conn)

	// Plain answers what else than /server_info is asked in plain HTTP. Nil:
	// there is nothing else.
	Plain http.Handler

	// API answers the nodes. Nil: this node is not a reverse proxy, and says so.
	API Service

	// Tokens are those that admit a node now; Enrol lets in a node that proved
	// one of them, durably. Its *Refusal reaches the node.
	Tokens func() []identity.Token
	Enrol  func(Peer) error

	// Protocols is what else is spoken here, by ALPN.
	Protocols map[string]Protocol

	Log *slog.Logger // nil: none

	// Connections at once. Strangers are all that are not admitted: beyond
	// their number they wait in the system's queue. A node's oldest connection
	// gives way to its newest. The API has such room, and each of the Protocols.
	MaxStrangers   int
	MaxNodes       int
	MaxForEachNode int
}

// Port is a node's one public TCP port.
type Port struct {
	ln     net.Listener
	o      PortOptions
	tls    *tls.Config
	guests *guests
	spoken map[string]*spoken // by ALPN
	slots  chan struct{}      // one for each stranger
	plain  *handover
	api    *handover
	log    *repeats
}

// NewPort makes a port of a listener, which Serve will close.
func NewPort(ln net.Listener, o PortOptions) *Port {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	orElse := func(n, otherwise int) int {
		if n > 0 {
			return n
		}
		return otherwise
	}
	room := func() *guests {
		return newGuests(orElse(o.MaxNodes, defaultNodes), orElse(o.MaxForEachNode, defaultEach))
	}
	return &Port{
		ln: ln, o: o,
		tls:    identity.ServerTLS(o.Key, alpns(o.Protocols)),
		guests: room(),
		spoken: speak(o.Protocols, room),
		slots:  make(chan struct{}, orElse(o.MaxStrangers, defaultStrangers)),
		plain:  newHandover(ln.Addr()),
		api:    newHandover(ln.Addr()),
		log:    &repeats{log: o.Log},
	}
}

// String names the port in the log of whoever supervises it.
func (p *Port) String() string { return "node port" }

// Serve answers until ctx ends, then closes everything and waits for it. It
// can be called once.
func (p *Port) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { p.ln.Close() })()

	var wg sync.WaitGroup
	serve := func(s *http.Server, h *handover) {
		wg.Go(func() { _ = s.Serve(h) }) // ends with h, and says no more than that
	}
	serve(p.plainServer(ctx), p.plain)
	serve(p.apiServer(ctx), p.api)

	err := p.accept(ctx, func(conn net.Conn) { wg.Go(func() { p.handle(ctx, conn) }) })
	cancel()
	p.plain.Close()
	p.api.Close()
	wg.Wait()
	return err
}

func (p *Port) plainServer(ctx context.Context) *http.Server {
	s := p.server(ctx, serverInfoHandler(p.o.Info, p.o.Plain))
	s.SetKeepAlivesEnabled(false) // a ping is one request: the room is for the next one
	return s
}

func (p *Port) apiServer(ctx context.Context) *http.Server {
	a := &api{service: p.o.API, guests: p.guests, calls: newLimiter(callsPerSecond, callsAtOnce), log: p.log}
	s := p.server(ctx, a.handler())
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return withGuest(ctx, c.(*handed).guest) }
	return s
}

func (p *Port) server(ctx context.Context, h http.Handler) *http.Server {
	var only http.Protocols
	only.SetHTTP1(true)
	return &http.Server{
		Handler:                      h,
		Protocols:                    &only,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerWait,
		ReadTimeout:                  requestWait,
		WriteTimeout:                 answerWait,
		IdleTimeout:                  idleWait,
		MaxHeaderBytes:               maxHeader,
		ConnState:                    connState,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		// What peers send is not logged there, only what goes wrong here.
		ErrorLog: slog.NewLogLogger(p.o.Log.Handler(), slog.LevelWarn),
	}
}

// accept hands each new connection on, together with a stranger's slot.
func (p *Port) accept(ctx context.Context, start func(net.Conn)) error {
	var wait time.Duration
	for {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := p.ln.Accept()
		if err == nil {
			wait = 0
			start(conn)
			continue
		}
		<-p.slots
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listening on %s: %w", p.ln.Addr(), err)
		case wait == 0:
			p.o.Log.Warn("accepting a connection", "err", err)
		default:
			p.o.Log.Debug("accepting a connection", "err", err)
		}
		// Out of descriptors, most likely. Those that end give theirs back.
		wait = min(max(2*wait, acceptWait), maxAcceptWait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// How long accept pauses after an error, growing to the second.
const (
	acceptWait    = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

// handle is a connection's whole life. It returns when nothing of it is left.
func (p *Port) handle(ctx context.Context, conn net.Conn) {
	free := sync.OnceFunc(func() { <-p.slots })
	defer free()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	life := time.AfterFunc(strangerLife, func() { conn.Close() })
	defer life.Stop()

	u, err := readFirst(conn)
	if err != nil {
		return // a port scan, or nobody
	}
	switch u.first[0] {
	case byteCanary:
		if p.o.Canary != nil {
			p.o.Canary(u)
		}
	case byteTLS:
		g := &guest{from: remoteAddr(conn), conn: conn, settle: func() { life.Stop(); free() }}
		if err := p.node(ctx, u, g); err != nil {
			p.o.Log.Debug("talking to a node", "err", err)
		}
	default:
		p.plain.serve(u, nil)
	}
}

// readFirst waits for the byte that says what the connection is.
func readFirst(conn net.Conn) (*unread, error) {
	if err := conn.SetReadDeadline(time.Now().Add(firstByteWait)); err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, err
	}
	return &unread{Conn: conn, first: first}, conn.SetReadDeadline(time.Time{})
}

// node serves a peer from its TLS handshake on.
func (p *Port) node(ctx context.Context, conn net.Conn, g *guest) error {
	tc := tls.Server(conn, p.tls)
	shake, cancel := context.WithTimeout(ctx, handshakeWait)
	err := tc.HandshakeContext(shake)
	cancel()
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	state := tc.ConnectionState()
	if g.id, err = identity.PeerID(state); err != nil {
		return err
	}
	if s := p.spoken[state.NegotiatedProtocol]; s != nil {
		s.serve(ctx, tc, g)
		return nil
	}
	if state.NegotiatedProtocol == ALPNJoin {
		if err := p.join(tc, g); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
	}
	defer p.guests.leave(g)
	p.api.serve(tc, g)
	return nil
}

// remoteAddr is where a connection comes from, as IPv4 where it is.
func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
