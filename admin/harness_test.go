package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"p2prc/admin"
	"p2prc/admin/frptest"
	"p2prc/frpconf"
)

// patience bounds every wait for a real frp: verdicts come in milliseconds, but
// a start and its first login need more on a loaded machine.
const patience = 15 * time.Second

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// reverseProxy is a real frps with a gate, as p2prc runs it.
type reverseProxy struct {
	*admin.FRPS
	t        testing.TB
	version  string
	conf     frpconf.Server
	certFile string
	gateCert string
	proc     *frptest.Process

	mu     sync.Mutex // guards what follows
	judge  func(admin.GateRequest) error
	asked  []admin.GateRequest
	bodies [][]byte // of asked, as they came
}

// newReverseProxy starts frps; change may edit its configuration. The pool is
// one port, and those that change adds.
func newReverseProxy(t testing.TB, version string, change ...func(*frpconf.Server)) *reverseProxy {
	t.Helper()
	rp := &reverseProxy{t: t, version: version, judge: func(admin.GateRequest) error { return nil }}
	cert, key := frptest.Cert(t, "p2prc")
	rp.certFile = cert

	// The gate is checked by its own certificate, which only this frps trusts.
	gateCert, gateKey := frptest.Cert(t, "gate")
	rp.gateCert = gateCert
	pair, err := tls.LoadX509KeyPair(gateCert, gateKey)
	if err != nil {
		t.Fatal(err)
	}
	gate := httptest.NewUnstartedServer(rp)
	gate.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	gate.Config.ErrorLog = log.New(io.Discard, "", 0)
	gate.StartTLS()
	t.Cleanup(func() {
		gate.CloseClientConnections()
		gate.Close()
	})

	rp.conf = frpconf.Server{
		BindAddr:  loopback,
		BindPort:  frptest.Port(t),
		Token:     "token-of-32-bytes",
		CertFile:  cert,
		KeyFile:   key,
		Admin:     frpconf.Web{Addr: netip.AddrPortFrom(loopback, frptest.Port(t)), User: "p2prc", Password: "frps's password"},
		Gate:      frpconf.Gate{Addr: netip.MustParseAddrPort(gate.Listener.Addr().String()), Path: "/secret-path"},
		Keepalive: 5 * time.Second,
	}
	for _, f := range change {
		f(&rp.conf)
	}
	if len(rp.conf.Allow) == 0 {
		rp.conf.Allow = only(frptest.Port(t))
	}
	rp.FRPS = admin.NewFRPS(endpoint(rp.conf.Admin))
	rp.proc = frptest.Start(t, rp.spec())
	t.Cleanup(rp.Close)
	return rp
}

func (rp *reverseProxy) spec() frptest.Spec {
	return frptest.Spec{
		Name:    "frps",
		Version: rp.version,
		Config:  encode(rp.t, rp.conf),
		Admin:   rp.conf.Admin.Addr,
		Env:     []string{"SSL_CERT_FILE=" + rp.gateCert, "SSL_CERT_DIR=/nonexistent"},
	}
}

// ServeHTTP is the gate.
func (rp *reverseProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != string(rp.conf.Gate.Path) {
		http.NotFound(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	g, err := admin.ReadGate(r)
	if err != nil {
		rp.t.Errorf("the gate was asked %s: %v", body, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rp.mu.Lock()
	rp.asked = append(rp.asked, g)
	rp.bodies = append(rp.bodies, body)
	judge := rp.judge
	rp.mu.Unlock()
	switch err := judge(g); {
	case err == nil:
		admin.Allow(w)
	case errors.Is(err, errGateBroken):
		http.Error(w, "broken", http.StatusInternalServerError)
	case errors.Is(err, errNoReason):
		_, _ = io.WriteString(w, `{"reject":true,"reject_reason":"","unchange":false}`)
	default:
		admin.Reject(w, err.Error())
	}
}

// What a judge can return to be worse than a no.
var (
	errGateBroken = errors.New("answer 500")
	errNoReason   = errors.New("answer no and nothing else")
)

func (rp *reverseProxy) setJudge(judge func(admin.GateRequest) error) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.judge = judge
}

// questions are those of a kind so far.
func (rp *reverseProxy) questions(is func(admin.GateRequest) bool) []admin.GateRequest {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	var some []admin.GateRequest
	for _, g := range rp.asked {
		if is(g) {
			some = append(some, g)
		}
	}
	return some
}

// server is a real frpc that knows this reverse proxy.
type server struct {
	*admin.FRPC
	t    testing.TB
	conf frpconf.Client
	proc *frptest.Process
}

func (rp *reverseProxy) newServer(proxies ...frpconf.Proxy) *server {
	rp.t.Helper()
	return rp.newServerWith(frptest.Spec{}, func(*frpconf.Client) {}, proxies...)
}

func (rp *reverseProxy) newServerWith(spec frptest.Spec, change func(*frpconf.Client), proxies ...frpconf.Proxy) *server {
	rp.t.Helper()
	s := &server{t: rp.t, conf: frpconf.Client{
		ServerAddr:    loopback.String(),
		ServerPort:    rp.conf.BindPort,
		Token:         rp.conf.Token,
		TrustedCAFile: rp.certFile,
		ServerName:    "p2prc",
		Metadatas:     map[string]frpconf.Secret{"credential": "credential of the node"},
		Admin:         frpconf.Web{Addr: netip.AddrPortFrom(loopback, frptest.Port(rp.t)), User: "p2prc", Password: "frpc's password"},
		Keepalive:     5 * time.Second,
		Proxies:       proxies,
	}}
	change(&s.conf)
	s.FRPC = admin.NewFRPC(endpoint(s.conf.Admin))
	spec.Name, spec.Version, spec.Config = "frpc", rp.version, encode(rp.t, s.conf)
	s.proc = frptest.Run(rp.t, spec)
	rp.t.Cleanup(s.Close)
	return s
}

// verdict waits for frpc's word on all proxies.
func (s *server) verdict() map[string]admin.Proxy {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var names []string
	for _, p := range s.conf.Proxies {
		names = append(names, p.Name)
	}
	status, err := s.WaitRunning(ctx, names)
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

// reload gives frpc these proxies instead and waits for its word.
func (s *server) reload(proxies ...frpconf.Proxy) map[string]admin.Proxy {
	s.t.Helper()
	s.conf.Proxies = proxies
	if err := os.WriteFile(s.proc.Config, []byte(encode(s.t, s.conf)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Reload(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return s.verdict()
}

func encode(t testing.TB, conf interface{ Encode() ([]byte, error) }) string {
	t.Helper()
	text, err := conf.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func endpoint(w frpconf.Web) admin.Endpoint {
	return admin.Endpoint{Addr: w.Addr, User: w.User, Password: admin.Secret(w.Password)}
}

func only(ports ...uint16) []frpconf.Range {
	var ranges []frpconf.Range
	for _, p := range ports {
		ranges = append(ranges, frpconf.Range{First: p, Last: p})
	}
	return ranges
}

func tcp(name string, local netip.AddrPort, remote uint16) frpconf.Proxy {
	return frpconf.Proxy{Name: name, Type: "tcp", Local: local, RemotePort: remote}
}

// echo is a service on loopback that sends back what it gets.
func echo(t testing.TB) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	return netip.MustParseAddrPort(ln.Addr().String())
}

// await asks every few milliseconds until ok, or fails the test.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}
