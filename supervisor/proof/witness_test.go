package proof_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

func TestWitness_saysWhyNot(t *testing.T) {
	const host = "127.12.0.1"
	banner := listen(t, host)
	serve(t, banner, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n") })
	closer := listen(t, host)
	serve(t, closer, func(c net.Conn) { c.Read(make([]byte, 100)) })
	silent := listen(t, host) // its backlog takes the connection
	echo := udpEcho(t, host)

	tests := []struct {
		name string
		t    proof.Target
		want error
	}{
		{"nobody there", proof.Target{Type: tables.TCP, Addr: free(t, host), LeaseID: "l"}, proof.ErrRefused},
		{"nobody there, UDP", proof.Target{Type: tables.UDP, Addr: free(t, host), LeaseID: "l"}, proof.ErrRefused},
		{"nobody there, bare connect", proof.Target{Type: tables.TCP, Addr: free(t, host)}, proof.ErrRefused},
		{"an SSH server", proof.Target{Type: tables.TCP, Addr: addrOf(t, banner.Addr()), LeaseID: "l"}, proof.ErrStranger},
		{"a UDP echo", proof.Target{Type: tables.UDP, Addr: echo, LeaseID: "l"}, proof.ErrStranger},
		{"closed", proof.Target{Type: tables.TCP, Addr: addrOf(t, closer.Addr()), LeaseID: "l"}, proof.ErrCut},
		{"no answer", proof.Target{Type: tables.TCP, Addr: addrOf(t, silent.Addr()), LeaseID: "l"}, proof.ErrSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			if err := proof.Witness(ctx, tt.t); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}

	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		err := proof.Witness(ctx, proof.Target{Type: tables.TCP, Addr: addrOf(t, silent.Addr()), LeaseID: "l"})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
	t.Run("UDP without a guard", func(t *testing.T) {
		if err := proof.Witness(t.Context(), proof.Target{Type: tables.UDP, Addr: echo}); err == nil {
			t.Error("a datagram to a user's service was counted as proof")
		}
	})
}

// udpEcho answers every datagram with itself: the right length is not enough.
func udpEcho(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			conn.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return addrOf(t, conn.LocalAddr())
}

func TestConnect_sendsNothing(t *testing.T) {
	ln := listen(t, "127.12.0.2")
	got := make(chan []byte, 1)
	serve(t, ln, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	if err := proof.Connect(t.Context(), addrOf(t, ln.Addr())); err != nil {
		t.Fatal(err)
	}
	if b := <-got; len(b) != 0 {
		t.Errorf("the service was sent %q", b)
	}
}

func TestWitnessAll(t *testing.T) {
	var targets []proof.Target
	for i := range 60 {
		proto := bothProtocols[i%2]
		at := netip.AddrPortFrom(netip.MustParseAddr("127.12.0.3"), uint16(20000+i))
		if i%3 != 0 {
			guard(t, proto, at, "lease", "key")
		}
		targets = append(targets, proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: []byte("key")})
	}
	for _, parallel := range []int{0, 1, 7, 1000} {
		for i, err := range proof.WitnessAll(t.Context(), targets, parallel) {
			if guarded := i%3 != 0; (err == nil) != guarded {
				t.Errorf("parallel %d, target %d, guarded %t: %v", parallel, i, guarded, err)
			}
		}
	}
	if errs := proof.WitnessAll(t.Context(), nil, 8); len(errs) != 0 {
		t.Errorf("no target: %v", errs)
	}
}

func Benchmark1000Witnesses(b *testing.B) {
	for _, proto := range bothProtocols {
		b.Run(string(proto), func(b *testing.B) {
			targets := make([]proof.Target, 1000)
			for i := range targets {
				at := netip.AddrPortFrom(netip.MustParseAddr("127.12.0.4"), uint16(20000+i))
				guard(b, proto, at, "lease", "key")
				targets[i] = proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: []byte("key")}
			}
			for b.Loop() {
				for _, err := range proof.WitnessAll(b.Context(), targets, 64) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
