package peerapi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

func TestPort_serverInfo(t *testing.T) {
	proxyID := identity.NewKey().ID()
	info := peerapi.ServerInfo{
		Name: "anna", NodeID: identity.NewKey().ID(), Version: "1.0", OS: "linux", Arch: "arm64", UptimeSeconds: 7, Role: peerapi.RoleServer,
		Reachable: peerapi.Reachable{Address: netip.MustParseAddr("203.0.113.7"), Port: 20001, How: peerapi.HowFRP, ProxyID: proxyID},
	}
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.Info = func() peerapi.ServerInfo { return info } })
	url := "http://" + p.addr.String() + "/server_info"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"name":"anna","node_id":%q,"version":"1.0","os":"linux","arch":"arm64","uptime_s":7,"role":"server",`+
		`"reachable":{"address":"203.0.113.7","port":20001,"how":"frp","proxy_id":%q}}`+"\n", info.NodeID, proxyID)
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Error(diff)
	}
	if resp.Header.Get("Content-Type") != "application/json" || !resp.Close {
		t.Errorf("header %v, close %t", resp.Header, resp.Close)
	}
	b, err := json.Marshal(peerapi.ServerInfo{})
	if err != nil || strings.Contains(string(b), "reachable") {
		t.Errorf("out of reach: %s, %v", b, err)
	}
}

func TestPort_httpIsServerInfoOnly(t *testing.T) {
	p := newProxy().serve(t, nil)
	for _, tt := range []struct {
		request string
		status  int
	}{
		{"GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"GET /server_info?x=1 HTTP/1.0\r\n\r\n", 200},
		{"HEAD /server_info HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"POST /server_info HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405},
		{"DELETE /server_info HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"GET /server_info/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"GET //server_info HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"GET /../server_info HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
		{"SSH-2.0-OpenSSH_9.9\r\n\r\n", 400},
		{"GET /server_info HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431},
		{"\x80\x00\x00\x01garbage\r\n\r\n", 400},
		{"\x01\r\n\r\n", 400},
		{"\x15\x03\x01\r\n\r\n", 400},
	} {
		t.Run(fmt.Sprintf("%.40q", tt.request), func(t *testing.T) {
			c := p.dialRaw(t)
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(tt.request, " ")
			resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || err != nil || method == "HEAD" && len(b) > 0 {
				t.Errorf("status %d, want %d; body %q, %v", resp.StatusCode, tt.status, b, err)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Error("the connection stays open")
			}
		})
	}
	if len(p.knocks)+len(p.calls) != 0 {
		t.Error("a stranger reached the API")
	}
}

func TestPort_canaryGetsEveryByte(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) {
		o.Canary = func(c net.Conn) { io.CopyN(c, c, 5) }
	})
	c := p.dialRaw(t)
	if _, err := io.WriteString(c, "\x00"); err != nil { // the magic may come in pieces
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "abcdef"); err != nil {
		t.Fatal(err)
	}
	// The last byte is unread when the canary is done: the answer may be
	// followed by a reset.
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "\x00abcd" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPort_noCanary(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.dialRaw(t)
	if _, err := io.WriteString(c, "\x00"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("answer %q, %v", b, err)
	}
}

func TestPort_tlsRefuses(t *testing.T) {
	p := newProxy().serve(t, nil)
	key := identity.NewKey()
	p.admit(key.ID())
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
		ok     bool
	}{
		{"a node", func(*tls.Config) {}, true},
		{"no certificate", func(c *tls.Config) { c.GetClientCertificate = nil }, false},
		{"no protocol", func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }, false},
		{"unknown protocol", func(c *tls.Config) { c.NextProtos = []string{"p2prc-api/9"} }, false},
		{"web protocols", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, false},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := identity.ClientTLS(key, "", []string{peerapi.ALPNAPI})
			tt.change(conf)
			tc, err := p.dialTLS(t, conf)
			var b []byte
			if err == nil {
				// The server may have hung up already: then the write fails, or the read.
				_, _ = io.WriteString(tc, "GET /v1/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				b, err = io.ReadAll(tc)
			}
			if tt.ok != (err == nil && strings.Contains(string(b), "200 OK")) || !tt.ok && len(b) > 0 {
				t.Errorf("answer %q, %v", b, err)
			}
		})
	}
}

// ask sends one request on a connection of its own and gives status and body.
func (p *proxy) ask(t *testing.T, key identity.Key, request string) (int, string) {
	t.Helper()
	tc, err := p.dialTLS(t, identity.ClientTLS(key, p.key.ID(), []string{peerapi.ALPNAPI}))
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(tc, request) // the answer may come before all is sent
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func postOf(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func TestPort_requests(t *testing.T) {
	p := newProxy().serve(t, nil)
	key := identity.NewKey()
	p.admit(key.ID())
	want := func(more string) string {
		return `{"id":"1","name":"n","wants":[{"name":"a","type":"TCP"` + more + `}]}`
	}
	for _, tt := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"right", postOf("/v1/reserve", want("")), 200, `"leases"`},
		{"chunked", "POST /v1/release HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"lease_ids\":[]}\r\n0\r\n\r\n", 200, "{}"},
		{"unknown member", postOf("/v1/reserve", want(`,"group":"g"`)), 400, "unknown field"},
		{"two values", postOf("/v1/reserve", want("")+"{}"), 400, "more than one"},
		{"nothing", postOf("/v1/reserve", ""), 400, "unexpected EOF"},
		{"cut short", postOf("/v1/reserve", `{"id":`), 400, "unexpected EOF"},
		{"an array", postOf("/v1/reserve", `[]`), 400, "reading the request"},
		{"port too large", postOf("/v1/reserve", want(`,"port":70000`)), 400, "port"},
		{"a path for a name", postOf("/v1/reserve", `{"id":"1","name":"../n","wants":[]}`), 400, "not a name"},
		{"a template for a name", postOf("/v1/reserve", `{"id":"1","name":"n","wants":[{"name":"{{.Envs.X}}","type":"TCP"}]}`), 400, "not a name"},
		{"another protocol", postOf("/v1/reserve", `{"id":"1","name":"n","wants":[{"name":"a","type":"http"}]}`), 400, "is not a protocol"},
		{"no ID", postOf("/v1/reserve", `{"id":"","name":"n","wants":[]}`), 400, "ID"},
		{"ID with an escape", postOf("/v1/reserve", `{"id":"\u001b[31m","name":"n","wants":[]}`), 400, "ID"},
		{"unknown state", postOf("/v1/report", `{"rows":[{"lease_id":"l","state":"great","local":""}]}`), 400, "not a state"},
		{"local address with a zone", postOf("/v1/report", `{"rows":[{"lease_id":"l","state":"up","local":"[fe80::1%x]:80"}]}`), 400, "zone"},
		{"too many rows", postOf("/v1/report", `{"rows":[`+strings.Repeat(`{"lease_id":"l","state":"up","local":""},`, 1024)+`{"lease_id":"l","state":"up","local":""}]}`), 400, "1025"},
		{"too many leases", postOf("/v1/release", `{"lease_ids":["l"`+strings.Repeat(`,"l"`, 1024)+`]}`), 400, "1025"},
		{"too large", postOf("/v1/reserve", strings.Repeat(" ", peerapi.MaxBody)+want("")), 400, "too large"},
		{"unknown path", "GET /v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no such call"},
		{"path with escapes", "GET /%1b[31m HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no such call: GET /?[31m"},
		{"wrong method", "GET /v1/reserve HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no such call"},
		{"server_info is not in the API", "GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no such call"},
		{"bad name in the header", "GET /v1/hello HTTP/1.1\r\nHost: x\r\nP2PRC-Name: A B\r\n\r\n", 400, "not a name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := p.ask(t, key, tt.request)
			if status != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("status %d, body %.300q; want %d with %q", status, body, tt.status, tt.says)
			}
		})
	}
}

func TestPort_admission(t *testing.T) {
	p := newProxy().serve(t, nil)
	known, revoked, stranger := identity.NewKey(), identity.NewKey(), identity.NewKey()
	p.admit(known.ID())
	p.admit(revoked.ID())
	p.revoked[revoked.ID()] = true
	hello := "GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, tt := range []struct {
		name    string
		key     identity.Key
		request string
		status  int
		says    string
	}{
		{"known, hello", known, hello, 200, `"admitted":true`},
		{"stranger, hello", stranger, hello, 200, `"admitted":false`},
		{"revoked, hello", revoked, hello, 403, `"revoked"`},
		{"stranger, reserve", stranger, postOf("/v1/reserve", `{"id":"1","name":"n","wants":[]}`), 403, `"not-admitted"`},
		{"stranger, report", stranger, postOf("/v1/report", `{"rows":[]}`), 403, `"not-admitted"`},
		{"stranger, release", stranger, postOf("/v1/release", `{"lease_ids":[]}`), 403, `"not-admitted"`},
		{"stranger, events", stranger, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 403, `"not-admitted"`},
		{"stranger, a large body", stranger, postOf("/v1/report", strings.Repeat(" ", peerapi.MaxBody)), 403, `"not-admitted"`},
		{"revoked, reserve", revoked, postOf("/v1/reserve", `{"id":"1","name":"n","wants":[]}`), 403, `"revoked"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := p.ask(t, tt.key, tt.request)
			if status != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("status %d, body %q", status, body)
			}
		})
	}
	if len(p.calls) != 0 {
		t.Errorf("the service was asked: %v", p.calls)
	}
}

// A large request that is refused unread still hears why.
func TestClient_refusedBeforeItIsRead(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, nil)
	req := reserveOne("a")
	for range 1023 {
		req.Wants = append(req.Wants, req.Wants[0])
		req.Wants[0].Lease = make([]byte, 600)
	}
	if _, err := c.Reserve(t.Context(), req); codeOf(err) != peerapi.CodeNotAdmitted {
		t.Errorf("error %v", err)
	}
}

func TestPort_plainServerSaysSo(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.API = nil })
	c := p.client(t, nil)
	if _, err := c.Hello(t.Context()); codeOf(err) != peerapi.CodeNotAProxy {
		t.Errorf("error %v", err)
	}
}

func TestPort_serviceErrorsStayInside(t *testing.T) {
	var logged lockedBuffer
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.Log = textLog(&logged) })
	p.reserve = failing(errors.New("writing /secret/journal: no space left"))
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	for range 3 {
		_, err := c.Reserve(t.Context(), reserveOne("a"))
		if codeOf(err) != peerapi.CodeUnavailable || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	}
	out := logged.String()
	if strings.Count(out, "level=WARN") != 1 || strings.Count(out, "/secret/journal") != 3 {
		t.Errorf("want one warning, the rest at debug:\n%s", out)
	}
}

func TestPort_callsAreLimitedByKey(t *testing.T) {
	p := newProxy().serve(t, nil)
	greedy := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	modest := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	limited := 0
	for range 300 { // far fewer than 50 of them come free again meanwhile
		_, err := greedy.Hello(t.Context())
		if codeOf(err) == peerapi.CodeUnavailable {
			limited++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if limited == 0 {
		t.Error("300 calls at once were all answered")
	}
	if _, err := modest.Hello(t.Context()); err != nil {
		t.Errorf("another node pays for it: %v", err)
	}
}

// A node that came back from another address, time and again, gets in: its
// oldest connections give way.
func TestPort_oldestConnectionGivesWay(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.MaxForEachNode = 2 })
	key := identity.NewKey()
	p.admit(key.ID())
	var conns []*tls.Conn
	for range 4 {
		tc, err := p.dialTLS(t, identity.ClientTLS(key, p.key.ID(), []string{peerapi.ALPNAPI}))
		if err != nil {
			t.Fatal(err)
		}
		if !keeps(tc) {
			t.Fatal("a new connection was refused")
		}
		conns = append(conns, tc)
	}
	for i, tc := range conns {
		if got, want := keeps(tc), i >= 2; got != want {
			t.Errorf("connection %d answers: %t", i, got)
		}
	}
}

// keeps reports whether a connection answers a hello and stays open.
func keeps(tc *tls.Conn) bool {
	if _, err := io.WriteString(tc, "GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == 200 && !resp.Close
}

func TestPort_full(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.MaxNodes = 1 })
	first := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	second := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	if _, err := first.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Hello(t.Context()); codeOf(err) != peerapi.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	if _, err := first.Hello(t.Context()); err != nil {
		t.Errorf("the first node: %v", err)
	}
}

// Strangers who fill every slot, and stay silent, take nothing from a node
// that is connected.
func TestPort_strangersLeaveNodesAlone(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.MaxStrangers = 4 })
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	if _, err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		p.dialRaw(t)
	}
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Error(err)
	}
}

func TestPort_thousandStrangers(t *testing.T) {
	p := newProxy().serve(t, func(o *peerapi.PortOptions) { o.Canary = func(c net.Conn) { io.CopyN(c, c, 2) } })
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	if _, err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	says := []string{
		"GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n", "\x00x", "garbage\r\n\r\n",
		"\x16\x03\x01\x00\x05hello", "\x16\x03\x03\xff\xff", "", "POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}",
	}
	room := make(chan struct{}, 100) // descriptors of the test itself
	var wg sync.WaitGroup
	for i := range 1000 {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			conn, err := net.Dial("tcp4", p.addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			say := says[i%len(says)]
			io.WriteString(conn, say)
			conn.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(conn)
			if strings.HasPrefix(say, "GET") && !strings.Contains(string(b), "200 OK") {
				t.Errorf("%q got %q", say, b)
			}
		})
	}
	for range 20 {
		if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// Serve returns when nothing of it is left, whatever its connections are at.
func TestPort_stopEndsEverything(t *testing.T) {
	canary := make(chan struct{})
	p := newProxy()
	asked := make(chan struct{})
	p.reserve = blocking(asked)
	p.serve(t, func(o *peerapi.PortOptions) {
		o.Canary = func(c net.Conn) {
			close(canary)
			io.Copy(io.Discard, c)
		}
	})
	p.dialRaw(t) // silent
	io.WriteString(p.dialRaw(t), "\x16\x03")
	io.WriteString(p.dialRaw(t), "GET /server_in")
	io.WriteString(p.dialRaw(t), "\x00")
	idle := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	if _, err := idle.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() {
		_, err := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) }).Reserve(t.Context(), reserveOne("a"))
		ended <- err
	}()
	listening := make(chan struct{})
	go func() {
		ended <- p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) }).Events(t.Context(), func(peerapi.Event) { close(listening) })
	}()
	p.events <- peerapi.Event{Kind: peerapi.EventPing}
	<-canary
	<-asked
	<-listening
	p.stop()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a call outlived the proxy")
		}
	}
	if c, err := net.Dial("tcp4", p.addr.String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func TestPort_listenerClosedByOthers(t *testing.T) {
	ln := listen(t)
	ln.Close()
	p := newProxy()
	if err := peerapi.NewPort(ln, p.options()).Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
