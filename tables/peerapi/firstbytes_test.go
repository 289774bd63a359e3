package peerapi_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"p2prc/tables/peerapi"
)

// Whatever a stranger sends, the port answers or hangs up, reaches no service,
// and serves the next one.
func FuzzFirstBytes(f *testing.F) {
	for _, s := range []string{
		"", "\x00", "\x00magic", "\x16", "\x16\x03\x01\x00\x05hello", "\x16\x03\x01\xff\xff\x01",
		"GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n", "GET /server_info HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	p := newProxy()
	l := newPipes()
	var canary sync.Map
	o := p.options()
	o.Canary = func(c net.Conn) {
		b, _ := io.ReadAll(c)
		canary.Store(string(b), true)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- peerapi.NewPort(l, o).Serve(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, s := net.Pipe()
		l.conns <- &halfClosed{Conn: s, r: bytes.NewReader(b)}
		got, _ := io.ReadAll(c)
		if len(b) > 0 && b[0] == 0 {
			if _, ok := canary.LoadAndDelete(string(b)); !ok {
				t.Errorf("the canary did not get %q", b)
			}
			return
		}
		if len(b) > 0 && b[0] != 0x16 && !bytes.HasPrefix(got, []byte("HTTP/1.")) && bytes.Contains(b, []byte("\r\n\r\n")) {
			t.Errorf("%q got %q", b, got)
		}
		if len(p.calls)+len(p.knocks) > 0 {
			t.Errorf("%q reached the service", b)
		}
	})
}

// halfClosed is a connection whose peer sent everything at once, and no more.
type halfClosed struct {
	net.Conn
	r io.Reader
}

func (h *halfClosed) Read(p []byte) (int, error) { return h.r.Read(p) }
