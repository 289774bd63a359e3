package peerapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

func TestJoin(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{identity.NewToken(), token, identity.NewToken()}
	key := identity.NewKey()
	withToken := func(o *peerapi.ClientOptions) { o.Key, o.Token, o.Name = key, token, "anna" }
	c := p.client(t, withToken)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.admitted[key.ID()] != "anna" || c.Peer() != p.key.ID() {
		t.Fatalf("enrolled %v, peer %s", p.admitted, c.Peer())
	}
	joined := c.LocalAddr()
	if h, err := c.Hello(t.Context()); err != nil || !h.Admitted {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := c.Reserve(t.Context(), reserveOne("a")); err != nil {
		t.Fatal(err)
	}
	if c.LocalAddr() != joined {
		t.Error("the connection that joined was not used further")
	}

	t.Run("revoked token, admitted key", func(t *testing.T) {
		p.tokens = nil
		pinned := p.client(t, func(o *peerapi.ClientOptions) { withToken(o); o.Pin = p.key.ID() })
		if _, err := pinned.Reserve(t.Context(), reserveOne("a")); err != nil {
			t.Error(err)
		}
	})
	t.Run("revoked token, unknown key", func(t *testing.T) {
		c := p.client(t, func(o *peerapi.ClientOptions) { o.Token = token })
		if err := c.Connect(t.Context()); codeOf(err) != peerapi.CodeBadToken {
			t.Errorf("error %v", err)
		}
	})
}

// Whoever is admitted stays when the token is revoked, also if it has joined by
// a join string (pin and token) in this very run.
func TestJoin_endsWithTheAdmission(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	c := p.client(t, func(o *peerapi.ClientOptions) { o.Pin, o.Token, o.Join = p.key.ID(), token, true })
	if h, err := c.Hello(t.Context()); err != nil || !h.Admitted {
		t.Fatalf("%+v, %v", h, err)
	}
	p.mu.Lock()
	p.tokens = nil
	p.mu.Unlock()
	if err := c.Connect(t.Context()); err != nil {
		t.Errorf("connecting anew: %v", err)
	}
	if h, err := c.Hello(t.Context()); err != nil || !h.Admitted {
		t.Errorf("%+v, %v", h, err)
	}
}

// The proxy that knew the token is the pin: a copy of the token is no copy of
// the proxy.
func TestJoin_pins(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	addr := p.addr
	c := p.client(t, func(o *peerapi.ClientOptions) { o.Token, o.Dial = token, through(&addr) })
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.stop()
	other := newProxy()
	other.tokens = p.tokens
	addr = other.serve(t, nil).addr
	if _, ok := errors.AsType[*identity.PinError](c.Connect(t.Context())); !ok {
		t.Error("another proxy with the same token was accepted")
	}
}

// With the pin known the token waits until it is needed.
func TestJoin_whenNotAdmitted(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	for name, ask := range map[string]func(*peerapi.Client) error{
		"hello": func(c *peerapi.Client) error {
			h, err := c.Hello(t.Context())
			if err == nil && !h.Admitted {
				return errors.New("not admitted")
			}
			return err
		},
		"reserve": func(c *peerapi.Client) error { _, err := c.Reserve(t.Context(), reserveOne("a")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			for _, tok := range []identity.Token{token, identity.NewToken()} {
				c := p.client(t, func(o *peerapi.ClientOptions) { o.Pin, o.Token = p.key.ID(), tok })
				if err := c.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				err := ask(c)
				if tok.Equal(token) && err != nil || !tok.Equal(token) && codeOf(err) != peerapi.CodeBadToken {
					t.Errorf("right token %t: error %v", tok.Equal(token), err)
				}
			}
		})
	}
}

func TestJoin_refused(t *testing.T) {
	token := identity.NewToken()
	for _, tt := range []struct {
		name   string
		proxy  func(*proxy)
		port   func(*peerapi.PortOptions)
		client func(*peerapi.ClientOptions)
		want   peerapi.Code
	}{
		{"no token is valid", func(p *proxy) { p.tokens = nil }, nil, nil, peerapi.CodeBadToken},
		{"another token", func(p *proxy) { p.tokens = []identity.Token{identity.NewToken()} }, nil, nil, peerapi.CodeBadToken},
		{"the zero token is valid for nobody", func(p *proxy) { p.tokens = []identity.Token{{}} }, nil, nil, peerapi.CodeBadToken},
		{"no token and no function", nil, func(o *peerapi.PortOptions) { o.Tokens = nil }, nil, peerapi.CodeNotAProxy},
		{"a plain server", nil, func(o *peerapi.PortOptions) { o.API = nil }, nil, peerapi.CodeNotAProxy},
		{"bad name", nil, nil, func(o *peerapi.ClientOptions) { o.Name = "No Name" }, peerapi.CodeBadRequest},
		{"the enrolment is refused", func(p *proxy) {
			p.enrolErr = &peerapi.Refusal{Code: peerapi.CodeRevoked, Message: strings.Repeat("<\x00", 2000)}
		}, nil, nil, peerapi.CodeRevoked},
		{"the enrolment fails", func(p *proxy) { p.enrolErr = errors.New("writing /secret/path: disk full") }, nil, nil, peerapi.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy()
			p.tokens = []identity.Token{token}
			if tt.proxy != nil {
				tt.proxy(p)
			}
			p.serve(t, tt.port)
			c := p.client(t, func(o *peerapi.ClientOptions) {
				o.Token = token
				if tt.client != nil {
					tt.client(o)
				}
			})
			err := c.Connect(t.Context())
			if codeOf(err) != tt.want || strings.Contains(err.Error(), "/secret") || strings.ContainsRune(err.Error(), 0) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if len(p.admitted) != 0 {
				t.Error("enrolled all the same")
			}
		})
	}
}

// A proxy that refuses sends no proof of its own: nothing to carry elsewhere.
func TestJoin_refusalProvesNothing(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	tc, err := p.dialTLS(t, identity.ClientTLS(identity.NewKey(), "", []string{peerapi.ALPNJoin}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tc.Write(make([]byte, identity.JoinProofSize+1)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(tc)
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := identity.JoinExporter(tc.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{identity.JoinClient, identity.JoinServer} {
		if bytes.Contains(got, identity.JoinProof(token, exporter, role)) {
			t.Errorf("the refusal holds the proof of a %s", role)
		}
	}
	if !bytes.Contains(got, []byte(peerapi.CodeBadToken)) || got[0] != 0 {
		t.Errorf("answer %q", got)
	}
}

// Requests are heard only after the proof.
func TestJoin_noRequestBeforeTheProof(t *testing.T) {
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{identity.NewToken()}
	tc, err := p.dialTLS(t, identity.ClientTLS(identity.NewKey(), "", []string{peerapi.ALPNJoin}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tc, "GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"+strings.Repeat("x", 100)); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(tc); bytes.Contains(got, []byte("HTTP/1.1")) {
		t.Errorf("answer %q", got)
	}
	if len(p.knocks) != 0 {
		t.Error("the request was heard")
	}
}

// rogue is a node that pretends to be the proxy of a token it does not know.
// answer gets what the client sent, and says what comes back.
func rogue(t *testing.T, answer func(c *tls.Conn, sent []byte) []byte) *net.TCPAddr {
	conf := identity.ServerTLS(identity.NewKey(), []string{peerapi.ALPNAPI, peerapi.ALPNJoin})
	return answering(t, func(raw net.Conn) {
		c := tls.Server(raw, conf)
		sent := make([]byte, identity.JoinProofSize+1+len("node"))
		if _, err := io.ReadFull(c, sent); err != nil {
			return
		}
		c.Write(answer(c, sent))
		io.Copy(io.Discard, c)
	}).(*net.TCPAddr)
}

func TestJoin_rogueProxy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*tls.Conn, []byte) []byte
		wrong  bool // ErrWrongProof
	}{
		{"says yes with nothing", func(*tls.Conn, []byte) []byte { return append([]byte{1}, make([]byte, 32)...) }, true},
		{"sends the client's proof back", func(_ *tls.Conn, sent []byte) []byte { return append([]byte{1}, sent[:32]...) }, true},
		{"proves the zero token", func(c *tls.Conn, _ []byte) []byte {
			ex, _ := identity.JoinExporter(c.ConnectionState())
			return append([]byte{1}, identity.JoinProof(identity.Token{}, ex, identity.JoinServer)...)
		}, true},
		{"proves another token", func(c *tls.Conn, _ []byte) []byte {
			ex, _ := identity.JoinExporter(c.ConnectionState())
			return append([]byte{1}, identity.JoinProof(identity.NewToken(), ex, identity.JoinServer)...)
		}, true},
		{"answers with garbage", func(*tls.Conn, []byte) []byte { return []byte{7} }, false},
		{"answers with a huge refusal", func(*tls.Conn, []byte) []byte { return []byte{0, 0xff, 0xff} }, false},
		{"answers with a refusal of nothing", func(*tls.Conn, []byte) []byte { return []byte{0, 0, 0} }, false},
		{"answers with a refusal that is none", func(*tls.Conn, []byte) []byte { return append([]byte{0, 0, 2}, "{}"...) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := rogue(t, tt.answer).AddrPort()
			c := peerapi.NewClient(peerapi.ClientOptions{
				Key: identity.NewKey(), Host: addr.Addr().String(), Port: addr.Port(), Token: identity.NewToken(), Name: "node",
			})
			_, err := c.Hello(t.Context())
			if err == nil || errors.Is(err, peerapi.ErrWrongProof) != tt.wrong {
				t.Errorf("error %v", err)
			}
			if codeOf(err) != "" {
				t.Errorf("taken for a refusal: %v", err)
			}
			if c.Peer() != "" {
				t.Errorf("remembered %s", c.Peer())
			}
		})
	}
}

// Somebody in between ends TLS on both sides with keys of his own, and passes
// on what each side says.
func TestJoin_relayed(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	mallory := identity.NewKey()
	heard := make(chan []byte, 2)
	addr := answering(t, func(raw net.Conn) {
		c := tls.Server(raw, identity.ServerTLS(mallory, []string{peerapi.ALPNJoin}))
		if err := c.Handshake(); err != nil {
			t.Error(err)
			return
		}
		s, err := p.dialTLS(t, identity.ClientTLS(mallory, p.key.ID(), []string{peerapi.ALPNJoin}))
		if err != nil {
			t.Error(err)
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(s, c)
			s.Close()
		}()
		var said bytes.Buffer
		io.Copy(io.MultiWriter(c, &said), s)
		heard <- said.Bytes()
		c.Close()
		<-done
	}).(*net.TCPAddr).AddrPort()
	c := peerapi.NewClient(peerapi.ClientOptions{
		Key: identity.NewKey(), Host: addr.Addr().String(), Port: addr.Port(), Token: token, Name: "node",
	})
	if _, err := c.Hello(t.Context()); err == nil {
		t.Fatal("joined through somebody else")
	}
	if said := <-heard; !bytes.Contains(said, []byte(peerapi.CodeBadToken)) {
		t.Errorf("the proxy said %q", said)
	}
	if len(p.admitted) != 0 {
		t.Error("somebody was enrolled")
	}
}

// A proof that was overheard on one connection is worth nothing on the next.
func TestJoin_replayed(t *testing.T) {
	token := identity.NewToken()
	p := newProxy().serve(t, nil)
	p.tokens = []identity.Token{token}
	conf := identity.ClientTLS(identity.NewKey(), "", []string{peerapi.ALPNJoin})
	var old []byte
	for i, want := range []byte{1, 0} {
		tc, err := p.dialTLS(t, conf)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			exporter, err := identity.JoinExporter(tc.ConnectionState())
			if err != nil {
				t.Fatal(err)
			}
			old = append(identity.JoinProof(token, exporter, identity.JoinClient), 0)
		}
		if _, err := tc.Write(old); err != nil {
			t.Fatal(err)
		}
		status := make([]byte, 1)
		if _, err := io.ReadFull(tc, status); err != nil || status[0] != want {
			t.Errorf("connection %d: status %d, %v", i, status[0], err)
		}
	}
}

// Neither the log nor the wire shows the token.
func TestJoin_tokenIsNeverShown(t *testing.T) {
	token := identity.NewToken()
	var logged, wire lockedBuffer
	p := newProxy()
	p.tokens = []identity.Token{token}
	p.serve(t, func(o *peerapi.PortOptions) { o.Log = textLog(&logged) })
	var dialer net.Dialer
	for _, tok := range []identity.Token{token, identity.NewToken()} {
		c := p.client(t, func(o *peerapi.ClientOptions) {
			o.Token = tok
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				return recorded{conn, &wire}, err
			}
		})
		if err := c.Connect(t.Context()); err != nil && strings.Contains(err.Error(), tok.Reveal()) {
			t.Errorf("the error shows the token: %v", err)
		}
		for _, out := range []string{logged.String(), wire.String()} {
			if strings.Contains(out, tok.Reveal()) {
				t.Errorf("the token is in:\n%s", out)
			}
		}
	}
	if logged.String() == "" || wire.String() == "" {
		t.Error("nothing was recorded: the test sees nothing")
	}
}
