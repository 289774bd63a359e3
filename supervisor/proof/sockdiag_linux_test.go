package proof

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"p2prc/tables"
)

// What sock_diag says and what /proc says must agree on sockets that are ours.
func TestListeners_bothWays(t *testing.T) {
	held := make(map[tables.Protocol][]netip.AddrPort)
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		if ln, err := net.Listen("tcp", addr); err == nil {
			defer ln.Close()
			a := ln.Addr().(*net.TCPAddr).AddrPort()
			held[tables.TCP] = append(held[tables.TCP], netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
		if pc, err := net.ListenPacket("udp", addr); err == nil {
			defer pc.Close()
			a := pc.LocalAddr().(*net.UDPAddr).AddrPort()
			held[tables.UDP] = append(held[tables.UDP], netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	}
	for proto, file := range map[tables.Protocol]string{tables.TCP: "tcp", tables.UDP: "udp"} {
		diag := make(map[netip.AddrPort]bool)
		if err := diagListeners(proto, diag); err != nil {
			t.Fatalf("sock_diag: %v", err)
		}
		proc := make(map[netip.AddrPort]bool)
		if err := readProc(proc, proto, file); err != nil {
			t.Fatal(err)
		}
		if len(held[proto]) < 2 {
			t.Fatalf("no sockets to look for: %v", held)
		}
		for _, a := range held[proto] {
			if !diag[a] || !proc[a] {
				t.Errorf("%s %s: sock_diag %t, /proc %t", proto, a, diag[a], proc[a])
			}
		}
	}
	conn, err := net.Dial("tcp", held[tables.TCP][0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	diag := make(map[netip.AddrPort]bool)
	if err := diagListeners(tables.TCP, diag); err != nil {
		t.Fatal(err)
	}
	if a := conn.LocalAddr().(*net.TCPAddr).AddrPort(); diag[a] {
		t.Errorf("%s is a connection, no listener", a)
	}
}

func BenchmarkListeners(b *testing.B) {
	b.Run("sock_diag", func(b *testing.B) {
		for b.Loop() {
			if err := diagListeners(tables.TCP, make(map[netip.AddrPort]bool)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proc", func(b *testing.B) {
		for b.Loop() {
			if err := readProc(make(map[netip.AddrPort]bool), tables.TCP, "tcp"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzParseDiag(f *testing.F) {
	f.Add(diagRequest(unix.AF_INET, tables.TCP))
	f.Add([]byte{16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := make(map[netip.AddrPort]bool)
		_, _ = parseDiag(b, got)
		for a := range got {
			if !a.IsValid() || a.Addr().Is4In6() {
				t.Errorf("%x became %v", b, a)
			}
		}
	})
}
