package proof_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/lease"
)

func TestGuard(t *testing.T) {
	for _, proto := range bothProtocols {
		t.Run(string(proto), func(t *testing.T) {
			at := free(t, "127.11.0.1")
			guard(t, proto, at, "lease", "key")
			target := proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: []byte("key")}
			if err := proof.Witness(t.Context(), target); err != nil {
				t.Errorf("the holder of the lease: %v", err)
			}
			other := target
			other.LeaseID = "another"
			wait, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := proof.Witness(wait, other); err == nil {
				t.Error("proved under another lease")
			}
			other = target
			other.Key = []byte("wrong")
			wait, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := proof.Witness(wait, other); !errors.Is(err, proof.ErrStranger) {
				t.Errorf("with another key: got %v, want %v", err, proof.ErrStranger)
			}
		})
	}
}

func TestGuard_inUse(t *testing.T) {
	for _, proto := range bothProtocols {
		t.Run(string(proto), func(t *testing.T) {
			at := free(t, "127.11.0.2")
			guard(t, proto, at, "lease", "key")
			if _, err := proof.Guard(proto, at, "second", nil); !errors.Is(err, lease.ErrInUse) {
				t.Errorf("second guard: got %v, want %v", err, lease.ErrInUse)
			}
			_, err := proof.Guard(proto, netip.MustParseAddrPort("192.0.2.1:20000"), "elsewhere", nil)
			if err == nil || errors.Is(err, lease.ErrInUse) {
				t.Errorf("on an address that is not ours: got %v, which must not be %v", err, lease.ErrInUse)
			}
		})
	}
}

// frps opens [::] when it is told 0.0.0.0, so whoever is on [::] is in its way.
func TestGuard_bindsAsFRPSDoes(t *testing.T) {
	six, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	defer six.Close()
	var none netip.Addr
	at := netip.AddrPortFrom(none, addrOf(t, six.Addr()).Port())
	if _, err := proof.Guard(tables.TCP, at, "lease", nil); !errors.Is(err, lease.ErrInUse) {
		t.Errorf("got %v, want %v", err, lease.ErrInUse)
	}
}

func TestGuard_closeFreesThePort(t *testing.T) {
	for _, proto := range bothProtocols {
		t.Run(string(proto), func(t *testing.T) {
			at := free(t, "127.11.0.3")
			for round := range 20 {
				g, err := proof.Guard(proto, at, "lease", []byte("key"))
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				// One who asked, one who is silent, and, over TCP, one who has not
				// been accepted yet.
				if err := proof.Witness(t.Context(), proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: []byte("key")}); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				for range 2 {
					c, err := net.Dial(proto.FRP(), at.String())
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
				}
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				if err := g.Close(); !errors.Is(err, net.ErrClosed) {
					t.Fatalf("closing twice: %v", err)
				}
			}
		})
	}
}

func TestGuard_hangsUpOnStrangers(t *testing.T) {
	at := free(t, "127.11.0.4")
	guard(t, tables.TCP, at, "lease", "key")
	for _, say := range []string{"GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n", "\x00p2prc\x01C" + strings.Repeat("n", 48)} {
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: read %d bytes, %v; want to be hung up on", say[:8], n, err)
		}
	}
	// The silent ones beyond the first few are hung up on too.
	hungUp := make(chan struct{}, 20)
	for range cap(hungUp) {
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_, _ = c.Read(make([]byte, 1))
			hungUp <- struct{}{}
		}()
	}
	deadline := time.After(2 * time.Second)
	for range cap(hungUp) - 4 {
		select {
		case <-hungUp:
		case <-deadline:
			t.Fatal("strangers that say nothing are kept")
		}
	}
}

func TestGuard_keepsItsKey(t *testing.T) {
	g := guard(t, tables.TCP, free(t, "127.11.0.5"), "lease", "secret key")
	target := proof.Target{LeaseID: "lease", Key: []byte("secret key")}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v", g, g, g), fmt.Sprintf("%v %+v %#v %x", target, target, target, target.Key)} {
		if strings.Contains(s, "secret key") || strings.Contains(s, fmt.Sprintf("%x", "secret key")) || strings.Contains(s, "115 101 99") {
			t.Errorf("prints as %s", s)
		}
	}
}

func Benchmark1000Guards(b *testing.B) {
	for _, proto := range bothProtocols {
		b.Run(string(proto), func(b *testing.B) {
			for b.Loop() {
				var guards [1000]io.Closer
				for i := range guards {
					g, err := proof.Guard(proto, netip.AddrPortFrom(netip.MustParseAddr("127.11.0.6"), uint16(20000+i)), "lease", []byte("key"))
					if err != nil {
						b.Fatal(err)
					}
					guards[i] = g
				}
				for _, g := range guards {
					g.Close()
				}
			}
		})
	}
}
