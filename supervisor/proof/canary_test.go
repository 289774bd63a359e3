package proof_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

// lossy loses the first datagrams, as a fresh UDP proxy of frp keeps them back.
type lossy struct {
	net.PacketConn
	lose int
}

func (l *lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for ; l.lose > 0; l.lose-- {
		if n, from, err := l.PacketConn.ReadFrom(b); err != nil {
			return n, from, err
		}
	}
	return l.PacketConn.ReadFrom(b)
}

// canaryAt serves c on a port of host.
func canaryAt(t *testing.T, c *proof.Canary, proto tables.Protocol, host string) netip.AddrPort {
	t.Helper()
	if proto == tables.TCP {
		ln := listen(t, host)
		serve(t, ln, c.Answer)
		return addrOf(t, ln.Addr())
	}
	conn, err := net.ListenPacket("udp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.ServeUDP(ctx, &lossy{conn, 2}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("serving UDP ended with %v", err)
		}
	})
	return addrOf(t, conn.LocalAddr())
}

func TestCanary(t *testing.T) {
	for _, proto := range bothProtocols {
		t.Run(string(proto), func(t *testing.T) {
			c := proof.NewCanary()
			at := canaryAt(t, c, proto, "127.13.0.1")
			rtt, err := c.Probe(t.Context(), proof.Way{Type: proto, Addr: at})
			if err != nil || rtt <= 0 {
				t.Errorf("took %v: %v", rtt, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := proof.NewCanary().Probe(ctx, proof.Way{Type: proto, Addr: at}); !errors.Is(err, proof.ErrStranger) {
				t.Errorf("another node's canary: got %v, want %v", err, proof.ErrStranger)
			}
		})
	}
}

func TestCanary_isNoGuard(t *testing.T) {
	c := proof.NewCanary()
	at := canaryAt(t, c, tables.TCP, "127.13.0.2")
	// A question of the wrong kind gets nothing, so a canary cannot be used to
	// answer for a guard.
	conn, err := net.Dial("tcp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00p2prc\x01G" + strings.Repeat("n", 32))); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestCanary_serveUDPSaysWhenItsSocketIsGone(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.13.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := proof.NewCanary().ServeUDP(t.Context(), conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestCanary_keepsItsSecret(t *testing.T) {
	c := proof.NewCanary()
	if s := fmt.Sprintf("%v|%+v|%#v|%s", c, c, c, c); s != "[hidden]|[hidden]|[hidden]|[hidden]" {
		t.Errorf("prints as %s", s)
	}
}
