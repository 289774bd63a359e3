package peerapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

func TestClient_knock(t *testing.T) {
	p := newProxy().serve(t, nil)
	key := identity.NewKey()
	c := p.client(t, func(o *peerapi.ClientOptions) { o.Key, o.Name = key, "berta" })
	for range 3 {
		h, err := c.Hello(t.Context())
		if err != nil || h.Admitted || h.Proxy.ServerName != "proxy" {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	want := peerapi.Peer{ID: key.ID(), Name: "berta", From: c.LocalAddr().Addr()}
	if diff := cmp.Diff(want, p.knocks[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the knock (-want +got):\n%s", diff)
	}
	if _, err := c.Reserve(t.Context(), reserveOne("a")); codeOf(err) != peerapi.CodeNotAdmitted {
		t.Errorf("reserve: %v", err)
	}
	if err := c.Events(t.Context(), func(peerapi.Event) {}); codeOf(err) != peerapi.CodeNotAdmitted {
		t.Errorf("events: %v", err)
	}
	p.admit(key.ID())
	h, err := c.Hello(t.Context())
	if err != nil || !h.Admitted {
		t.Fatalf("after the admission: %+v, %v", h, err)
	}
	if c.Peer() != p.key.ID() || c.RemoteAddr() != p.addr || c.Latency() <= 0 {
		t.Errorf("peer %s, address %s, latency %s", c.Peer(), c.RemoteAddr(), c.Latency())
	}
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Errorf("reserve: %v", err)
	}
}

func TestClient_calls(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, func(o *peerapi.ClientOptions) { o.Pin = p.key.ID(); p.admit(o.Key.ID()) })
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	local := c.LocalAddr()
	r, err := c.Reserve(t.Context(), reserveOne("web"))
	if err != nil || len(r.Leases) != 1 || r.Leases[0].ID != "lease-web" || r.FRP.Port != 7000 {
		t.Fatalf("%v, %v", r, err)
	}
	report := peerapi.ReportRequest{Rows: []peerapi.Row{{LeaseID: "lease-web", State: tables.Down, Reason: "a\nb\x1b[31m\u202e" + strings.Repeat("x", 400)}}}
	rr, err := c.Report(t.Context(), report)
	if err != nil || rr.Rows[0].TTL.Duration() != 10*time.Minute {
		t.Fatalf("%+v, %v", rr, err)
	}
	if got := rr.Rows[0].Reason; !strings.HasPrefix(got, "a?b?[31m?xxx") || len(got) > 300 {
		t.Errorf("reason came back as %q", got)
	}
	if err := c.Release(t.Context(), peerapi.ReleaseRequest{LeaseIDs: []string{"lease-web"}}); err != nil {
		t.Fatal(err)
	}
	if c.LocalAddr() != local {
		t.Error("the calls did not share one connection")
	}
	if diff := cmp.Diff([]string{"reserve r1", "report", "release"}, p.calls); diff != "" {
		t.Error(diff)
	}
}

func TestClient_everyNameAndAddress(t *testing.T) {
	p := newProxy().serve(t, nil)
	dead := netip.MustParseAddr("127.88.0.1")
	for _, tt := range []struct {
		name  string
		addrs []netip.Addr
		want  string // of the error, empty for none
	}{
		{"one", []netip.Addr{p.addr.Addr()}, ""},
		{"the first is dead", []netip.Addr{dead, p.addr.Addr()}, ""},
		{"mapped", []netip.Addr{netip.AddrFrom16(p.addr.Addr().As16())}, ""},
		{"none", nil, "has no IPv4 address"},
		{"only IPv6", []netip.Addr{netip.MustParseAddr("::1")}, "has no IPv4 address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := p.client(t, func(o *peerapi.ClientOptions) { o.Host, o.Resolver = "proxy.example", resolver{tt.addrs, nil} })
			err := c.Connect(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("IPv6 address", func(t *testing.T) {
		c := p.client(t, func(o *peerapi.ClientOptions) { o.Host = "::1" })
		if err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "not an IPv4") {
			t.Errorf("error %v", err)
		}
	})
}

// An address that swallows what is sent to it leaves time for the next one.
func TestClient_blackHoleFirst(t *testing.T) {
	p := newProxy().serve(t, nil)
	hole := netip.MustParseAddr("192.0.2.1")
	var dialer net.Dialer
	c := p.client(t, func(o *peerapi.ClientOptions) {
		o.Host, o.Resolver, o.Timeout = "proxy.example", resolver{[]netip.Addr{hole, p.addr.Addr()}, nil}, time.Second
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, hole.String()) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dialer.DialContext(ctx, network, address)
		}
	})
	if err := c.Connect(t.Context()); err != nil {
		t.Error(err)
	}
}

// What a rogue proxy sends without end is not read without end.
func TestClient_endlessAnswer(t *testing.T) {
	conf := identity.ServerTLS(identity.NewKey(), []string{peerapi.ALPNAPI})
	for name, head := range map[string]string{
		"header": "HTTP/1.1 200 OK\r\nX: ",
		"body":   "HTTP/1.1 200 OK\r\n\r\n",
		"status": "HTTP/1.1 ",
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan int, 2)
			addr := answering(t, func(raw net.Conn) {
				c := tls.Server(raw, conf)
				n, err := io.WriteString(c, head)
				for chunk := make([]byte, 64<<10); err == nil && n < 64<<20; {
					var m int
					m, err = c.Write(chunk)
					n += m
				}
				sent <- n
			}).(*net.TCPAddr).AddrPort()
			c := peerapi.NewClient(peerapi.ClientOptions{Key: identity.NewKey(), Host: addr.Addr().String(), Port: addr.Port()})
			if _, err := c.Hello(t.Context()); err == nil {
				t.Error("no error")
			}
			c.Close()
			// What the system holds in its buffers comes on top.
			if n := <-sent; n > 32<<20 {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

type resolver struct {
	addrs []netip.Addr
	err   error
}

func (r resolver) LookupNetIP(_ context.Context, network, _ string) ([]netip.Addr, error) {
	if network != "ip4" {
		return nil, errors.New("asked for " + network)
	}
	return r.addrs, r.err
}

func TestClient_unreachable(t *testing.T) {
	p := newProxy().serve(t, nil)
	p.stop()
	notFound := &net.DNSError{Err: "no such host", Name: "proxy.example", IsNotFound: true}
	silent := listen(t) // the system accepts, nobody answers
	defer silent.Close()
	for _, tt := range []struct {
		name   string
		change func(*peerapi.ClientOptions)
		is     func(error) bool
	}{
		{"refused", nil, func(err error) bool { _, ok := errors.AsType[*net.OpError](err); return ok }},
		{
			"no such name", func(o *peerapi.ClientOptions) { o.Host, o.Resolver = "proxy.example", resolver{nil, notFound} },
			func(err error) bool { return errors.Is(err, notFound) },
		},
		{"silent", func(o *peerapi.ClientOptions) {
			a := silent.Addr().(*net.TCPAddr).AddrPort()
			o.Host, o.Port, o.Timeout = a.Addr().String(), a.Port(), 50*time.Millisecond
		}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := p.client(t, tt.change).Connect(t.Context())
			if err == nil || !tt.is(err) || errors.Is(err, peerapi.ErrNoP2PRC) || codeOf(err) != "" {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestClient_notP2PRC(t *testing.T) {
	quiet := log.New(io.Discard, "", 0)
	web := httptest.NewUnstartedServer(http.NotFoundHandler())
	web.Config.ErrorLog = quiet
	web.Start()
	defer web.Close()
	webTLS := httptest.NewUnstartedServer(http.NotFoundHandler())
	webTLS.Config.ErrorLog = quiet
	webTLS.StartTLS()
	defer webTLS.Close()

	closing := answering(t, func(net.Conn) {})
	garbage := answering(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n") })
	key := identity.NewKey()
	noALPN := answering(t, func(c net.Conn) {
		conf := identity.ServerTLS(key, nil)
		conf.VerifyConnection = nil
		tls.Server(c, conf).Handshake()
	})
	for _, tt := range []struct {
		name string
		addr net.Addr
	}{
		{"web server", web.Listener.Addr()},
		{"web server with TLS", webTLS.Listener.Addr()},
		{"hangs up", closing},
		{"another protocol", garbage},
		{"node key without a protocol", noALPN},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := tt.addr.(*net.TCPAddr).AddrPort()
			c := peerapi.NewClient(peerapi.ClientOptions{Key: identity.NewKey(), Host: a.Addr().String(), Port: a.Port(), Token: identity.NewToken()})
			if err := c.Connect(t.Context()); !errors.Is(err, peerapi.ErrNoP2PRC) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// answering listens, and hands each connection to answer, then closes it.
func answering(t *testing.T, answer func(net.Conn)) net.Addr {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(wait))
			answer(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr()
}

func TestClient_pin(t *testing.T) {
	p := newProxy().serve(t, nil)
	other := identity.NewKey().ID()
	for _, token := range []identity.Token{{}, identity.NewToken()} {
		c := p.client(t, func(o *peerapi.ClientOptions) { o.Pin, o.Token = other, token })
		err := c.Connect(t.Context())
		pe, ok := errors.AsType[*identity.PinError](err)
		if !ok || pe.Want != other || pe.Got != p.key.ID() || errors.Is(err, peerapi.ErrNoP2PRC) {
			t.Errorf("error %v", err)
		}
	}
	if len(p.knocks) != 0 {
		t.Error("the other node was asked something")
	}
}

// A proxy that was set up anew at the same address is refused by a client
// that was admitted before, and accepted by one that only knocked.
func TestClient_pinIsKeptOnceAdmitted(t *testing.T) {
	for _, admitted := range []bool{true, false} {
		p := newProxy().serve(t, nil)
		addr := p.addr
		c := p.client(t, func(o *peerapi.ClientOptions) {
			o.Dial = through(&addr)
			if admitted {
				p.admit(o.Key.ID())
			}
		})
		if h, err := c.Hello(t.Context()); err != nil || h.Admitted != admitted {
			t.Fatal(h, err)
		}
		p.stop()
		addr = newProxy().serve(t, nil).addr
		_, err := c.Hello(t.Context())
		if _, refused := errors.AsType[*identity.PinError](err); refused != admitted || !admitted && err != nil {
			t.Errorf("admitted %t: error %v", admitted, err)
		}
	}
}

func TestClient_repeatsAfterARestart(t *testing.T) {
	p := newProxy().serve(t, nil)
	addr := p.addr
	c := p.client(t, func(o *peerapi.ClientOptions) {
		o.Dial = through(&addr)
		p.admit(o.Key.ID())
	})
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Fatal(err)
	}
	p.stop()
	addr = p.serve(t, nil).addr
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestClient_answersAreChecked(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	lease := peerapi.Lease{Name: "a", Type: tables.TCP, Port: 20000, ID: "l", TTL: 1}
	for _, tt := range []struct {
		name   string
		change func(*peerapi.ReserveReply)
		ok     bool
	}{
		{"right", func(*peerapi.ReserveReply) {}, true},
		{"no lease", func(r *peerapi.ReserveReply) { r.Leases = nil }, false},
		{"two leases", func(r *peerapi.ReserveReply) { r.Leases = append(r.Leases, lease) }, false},
		{"other name", func(r *peerapi.ReserveReply) { r.Leases[0].Name = "b" }, false},
		{"other protocol", func(r *peerapi.ReserveReply) { r.Leases[0].Type = tables.UDP }, false},
		{"no port", func(r *peerapi.ReserveReply) { r.Leases[0].Port = 0 }, false},
		{"no ID", func(r *peerapi.ReserveReply) { r.Leases[0].ID = "" }, false},
		{"ID with a line break", func(r *peerapi.ReserveReply) { r.Leases[0].ID = "a\nb" }, false},
		{"negative life", func(r *peerapi.ReserveReply) { r.Leases[0].TTL = -1 }, false},
		{"endless life", func(r *peerapi.ReserveReply) { r.Leases[0].TTL = 1 << 62 }, false},
		{"too long", func(r *peerapi.ReserveReply) { r.FRP.Token = strings.Repeat("x", peerapi.MaxBody) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.reserve = func(context.Context, peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
				r := peerapi.ReserveReply{Leases: []peerapi.Lease{lease}}
				tt.change(&r)
				return r, nil
			}
			if _, err := c.Reserve(t.Context(), reserveOne("a")); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A call that is given up frees the client for the next one.
func TestClient_cancel(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	var slow atomic.Bool
	slow.Store(true)
	reached := make(chan struct{})
	easy := p.reserve
	p.reserve = func(ctx context.Context, r peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
		if slow.Load() {
			close(reached)
			<-ctx.Done() // the proxy learns of it, too
			return peerapi.ReserveReply{}, ctx.Err()
		}
		return easy(ctx, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	if _, err := c.Reserve(ctx, reserveOne("a")); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if _, err := c.Reserve(ctx, reserveOne("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	slow.Store(false)
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestClient_manyAtOnce(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := c.Reserve(t.Context(), reserveOne("a"))
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
