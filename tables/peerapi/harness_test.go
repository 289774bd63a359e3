package peerapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait is how long a test waits for what must come.
const wait = 10 * time.Second

// listen opens a port on a loopback address of the test's own, where the
// system has more than one.
func listen(t testing.TB) net.Listener {
	t.Helper()
	h := fnv.New32a()
	h.Write([]byte(t.Name()))
	n := h.Sum32()
	own := netip.AddrFrom4([4]byte{127, 88, byte(n >> 8), byte(n)})
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(own, 0).String())
	if err != nil {
		ln, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// proxy is a reverse proxy that keeps its list of nodes in memory.
type proxy struct {
	key  identity.Key
	addr netip.AddrPort
	stop func() // ends Serve and waits for it

	mu       sync.Mutex // guards what follows
	tokens   []identity.Token
	admitted map[identity.ID]string // by name
	revoked  map[identity.ID]bool
	knocks   []peerapi.Peer
	enrolErr error
	calls    []string
	reserve  func(context.Context, peerapi.ReserveRequest) (peerapi.ReserveReply, error)
	events   chan peerapi.Event
}

func newProxy() *proxy {
	p := &proxy{
		key:      identity.NewKey(),
		admitted: map[identity.ID]string{},
		revoked:  map[identity.ID]bool{},
		events:   make(chan peerapi.Event),
	}
	p.reserve = func(_ context.Context, req peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
		r := peerapi.ReserveReply{FRP: peerapi.FRP{Port: 7000, Token: "t"}}
		for i, w := range req.Wants {
			r.Leases = append(r.Leases, peerapi.Lease{Name: w.Name, Type: w.Type, Port: uint16(20000 + i), ID: "lease-" + w.Name, TTL: 600000})
		}
		return r, nil
	}
	return p
}

// options are what NewPort needs of the proxy.
func (p *proxy) options() peerapi.PortOptions {
	return peerapi.PortOptions{
		Key: p.key, API: p, Enrol: p.Enrol,
		Info: func() peerapi.ServerInfo {
			return peerapi.ServerInfo{Name: "proxy", NodeID: p.key.ID(), Role: peerapi.RoleReverseProxy}
		},
		Tokens: func() []identity.Token {
			p.mu.Lock()
			defer p.mu.Unlock()
			return slices.Clone(p.tokens)
		},
	}
}

// serve runs a port until the test ends or p.stop is called.
func (p *proxy) serve(t testing.TB, change func(*peerapi.PortOptions)) *proxy {
	t.Helper()
	return p.serveOn(t, listen(t), change)
}

func (p *proxy) serveOn(t testing.TB, ln net.Listener, change func(*peerapi.PortOptions)) *proxy {
	t.Helper()
	o := p.options()
	if change != nil {
		change(&o)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		p.addr = a.AddrPort()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- peerapi.NewPort(ln, o).Serve(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(wait):
			t.Error("Serve does not end")
		}
	})
	t.Cleanup(p.stop)
	return p
}

// client asks p as a new node would, with what change adds.
func (p *proxy) client(t testing.TB, change func(*peerapi.ClientOptions)) *peerapi.Client {
	t.Helper()
	o := peerapi.ClientOptions{Key: identity.NewKey(), Host: p.addr.Addr().String(), Port: p.addr.Port(), Name: "node"}
	if change != nil {
		change(&o)
	}
	c := peerapi.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// through makes a client reach whatever listens at *addr by now, under the
// address that it has always known.
func through(addr *netip.AddrPort) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}
}

// admit lets a node in that did not join.
func (p *proxy) admit(id identity.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admitted[id] = "by hand"
}

func (p *proxy) note(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

func (p *proxy) Enrol(peer peerapi.Peer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.enrolErr != nil {
		return p.enrolErr
	}
	p.admitted[peer.ID] = peer.Name
	return nil
}

func (p *proxy) Admit(peer peerapi.Peer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revoked[peer.ID] {
		return &peerapi.Refusal{Code: peerapi.CodeRevoked, Message: "revoked"}
	}
	if _, ok := p.admitted[peer.ID]; !ok {
		return &peerapi.Refusal{Code: peerapi.CodeNotAdmitted, Message: "unknown node"}
	}
	return nil
}

func (p *proxy) Hello(_ context.Context, peer peerapi.Peer) (peerapi.Hello, error) {
	err := p.Admit(peer)
	if r, ok := errors.AsType[*peerapi.Refusal](err); ok && r.Code == peerapi.CodeRevoked {
		return peerapi.Hello{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.knocks = append(p.knocks, peer)
	}
	row := tables.ReverseProxy{ServerName: "proxy", Address: netip.MustParseAddr("203.0.113.7"), NodeID: p.key.ID(), Ports: tables.PortRange{First: 20000, Last: 29999}}
	return peerapi.Hello{Version: "1", Proxy: row, Admitted: err == nil}, nil
}

func (p *proxy) Reserve(ctx context.Context, _ peerapi.Peer, req peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
	p.note("reserve " + req.ID)
	return p.reserve(ctx, req)
}

func (p *proxy) Report(_ context.Context, _ peerapi.Peer, req peerapi.ReportRequest) (peerapi.ReportReply, error) {
	p.note("report")
	var r peerapi.ReportReply
	for _, row := range req.Rows {
		r.Rows = append(r.Rows, peerapi.RowReply{LeaseID: row.LeaseID, TTL: 600000, Reason: row.Reason})
	}
	return r, nil
}

func (p *proxy) Witness(_ context.Context, _ peerapi.Peer, req peerapi.WitnessRequest) (peerapi.WitnessReply, error) {
	p.note("witness")
	r := peerapi.WitnessReply{Name: "proxy"}
	for _, a := range req.Asks {
		r.Answers = append(r.Answers, peerapi.Witnessed{Answer: a.Question})
	}
	return r, nil
}

func (p *proxy) Release(context.Context, peerapi.Peer, peerapi.ReleaseRequest) error {
	p.note("release")
	return nil
}

func (p *proxy) Events(ctx context.Context, _ peerapi.Peer, send func(peerapi.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-p.events:
			if err := send(ev); err != nil {
				return err
			}
		}
	}
}

// dialTLS opens a TLS connection to the port with any configuration.
func (p *proxy) dialTLS(t testing.TB, conf *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn, err := net.Dial("tcp4", p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	tc := tls.Client(conn, conf)
	return tc, tc.Handshake()
}

// dialRaw opens a TCP connection to the port.
func (p *proxy) dialRaw(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func codeOf(err error) peerapi.Code {
	if r, ok := errors.AsType[*peerapi.Refusal](err); ok {
		return r.Code
	}
	return ""
}

func reserveOne(name string) peerapi.ReserveRequest {
	return peerapi.ReserveRequest{ID: "r1", Name: "node", Wants: []peerapi.Want{{Name: name, Type: tables.TCP}}}
}
