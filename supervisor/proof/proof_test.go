package proof_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = []byte("a guard's key")

func addrOf(t *testing.T, a net.Addr) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(a.String())
}

// free is a port of this test's own address that nothing listens on.
func free(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return addrOf(t, ln.Addr())
}

func TestGuard(t *testing.T) {
	for _, proto := range []tables.Protocol{tables.TCP, tables.UDP} {
		t.Run(string(proto), func(t *testing.T) {
			at := free(t, "127.11.0.1")
			g, err := proof.Guard(proto, at, "lease", key)
			if err != nil {
				t.Fatal(err)
			}
			errs := proof.WitnessAll(t.Context(), []proof.Target{
				{Type: proto, Addr: at, LeaseID: "lease", Key: key},
				{Type: proto, Addr: at, LeaseID: "another", Key: key},
				{Type: proto, Addr: at, LeaseID: "lease", Key: []byte("wrong")},
			}, 8)
			if errs[0] != nil {
				t.Errorf("the witness of the lease: %v", errs[0])
			}
			if errs[1] == nil || errs[2] == nil {
				t.Error("a wrong lease or key was proved")
			}
			if _, err := proof.Guard(proto, at, "second", key); err == nil {
				t.Error("two guards on one port")
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := proof.Guard(proto, at, "lease", key)
			if err != nil {
				t.Fatalf("the port is not free after Close: %v", err)
			}
			again.Close()
		})
	}
}

func TestGuard_hangsUpOnStrangers(t *testing.T) {
	at := free(t, "127.11.0.2")
	g, err := proof.Guard(tables.TCP, at, "lease", key)
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 20 {
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if err := g.Close(); err != nil { // with silent strangers on the line
		t.Fatal(err)
	}
	for _, c := range conns {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("a stranger got an answer")
		}
		c.Close()
	}
}

func TestWitness_saysWhy(t *testing.T) {
	other, err := net.Listen("tcp4", "127.11.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, strings.Repeat("220 hello, I am something else\r\n", 2))
			c.Close()
		}
	}()
	errs := proof.WitnessAll(t.Context(), []proof.Target{
		{Type: tables.TCP, Addr: free(t, "127.11.0.3"), LeaseID: "l", Key: key},
		{Type: tables.TCP, Addr: addrOf(t, other.Addr()), LeaseID: "l", Key: key},
		{Type: tables.TCP, Addr: addrOf(t, other.Addr())}, // frps has it: a bare connect
	}, 8)
	if errs[0] == nil || errs[0].Error() != "connection refused" {
		t.Errorf("nobody there: %v", errs[0])
	}
	if errs[1] == nil {
		t.Error("something else was taken for the guard")
	}
	if errs[2] != nil {
		t.Errorf("a bare connect: %v", errs[2])
	}
}

func TestCanary(t *testing.T) {
	c, stranger := proof.NewCanary(), proof.NewCanary()
	ln, err := net.Listen("tcp4", "127.11.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.Answer(conn)
			conn.Close()
		}
	}()
	udp, err := net.ListenPacket("udp4", "127.11.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.ServeUDP(ctx, udp) }()
	for proto, at := range map[tables.Protocol]netip.AddrPort{
		tables.TCP: addrOf(t, ln.Addr()), tables.UDP: addrOf(t, udp.LocalAddr()),
	} {
		wait, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if took, err := c.Probe(wait, proto, at); err != nil || took <= 0 {
			t.Errorf("%s: %v after %v", proto, err, took)
		}
		if _, err := stranger.Probe(wait, proto, at); err == nil {
			t.Errorf("%s: another canary's answer was believed", proto)
		}
		stop()
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ln.Close()
	<-done
	if s := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Count(s, "[hidden]") != 3 {
		t.Errorf("prints as %s", s)
	}
}

func TestServices(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.11.0.5:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	at := addrOf(t, tcp.Addr())
	wild := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addrOf(t, udp.LocalAddr()).Port())
	s := proof.NewServices()
	ask := []proof.Service{{Type: tables.TCP, Addr: at}, {Type: tables.UDP, Addr: wild}}
	for i, err := range s.Check(t.Context(), ask) {
		if err != nil {
			t.Errorf("%v: %v", ask[i], err)
		}
	}
	tcp.Close()
	if err := s.Check(t.Context(), ask)[0]; err == nil || err.Error() != "nothing listens on "+at.String() {
		t.Errorf("after the end: %v", err)
	}
}

func BenchmarkWitnessAll1000(b *testing.B) {
	targets := make([]proof.Target, 1000)
	for i := range targets {
		at := netip.AddrPortFrom(netip.MustParseAddr("127.11.0.9"), uint16(20000+i))
		g, err := proof.Guard(tables.TCP, at, "lease", key)
		if err != nil {
			b.Fatal(err)
		}
		defer g.Close()
		targets[i] = proof.Target{Type: tables.TCP, Addr: at, LeaseID: "lease", Key: key}
	}
	for b.Loop() {
		for _, err := range proof.WitnessAll(b.Context(), targets, 256) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
