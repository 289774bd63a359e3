package proof

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestServices_ofThisHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no table of listeners")
	}
	const host = "127.14.0.1"
	tcp, err := net.Listen("tcp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	there := []Service{
		{tables.TCP, ap(tcp.Addr().String())},
		{tables.UDP, netip.AddrPortFrom(netip.MustParseAddr(host), ap(udp.LocalAddr().String()).Port())},
	}
	s := NewServices()
	for i, err := range s.Check(t.Context(), there) {
		if err != nil {
			t.Errorf("%v: %v", there[i], err)
		}
	}
	tcp.Close()
	udp.Close()
	for i, err := range s.Check(t.Context(), there) {
		if !errors.Is(err, ErrNothingListens) || err.Error() != "nothing listens on "+there[i].Addr.String() {
			t.Errorf("%v after its end: %v", there[i], err)
		}
	}
}

func TestListeners_has(t *testing.T) {
	l := listeners{
		tables.TCP: {ap("127.0.0.1:1"): true, ap("0.0.0.0:2"): true, ap("[::]:3"): true, ap("[::1]:4"): true, ap("192.0.2.7:5"): true},
		tables.UDP: {ap("0.0.0.0:6"): true},
	}
	tests := []struct {
		proto tables.Protocol
		addr  string
		want  bool
	}{
		{tables.TCP, "127.0.0.1:1", true},
		{tables.TCP, "127.0.0.2:1", false},
		{tables.TCP, "0.0.0.0:1", true}, // dialling it is dialling 127.0.0.1
		{tables.TCP, "192.0.2.7:2", true},
		{tables.TCP, "[::1]:2", false},
		{tables.TCP, "127.0.0.1:3", true},
		{tables.TCP, "[::1]:3", true},
		{tables.TCP, "[::]:4", true},
		{tables.TCP, "127.0.0.1:4", false},
		{tables.TCP, "127.0.0.1:5", false},
		{tables.TCP, "127.0.0.1:6", false},
		{tables.UDP, "127.0.0.1:6", true},
	}
	for _, tt := range tests {
		a := ap(tt.addr)
		if got := l.has(tt.proto, a.Addr(), a.Port()); got != tt.want {
			t.Errorf("%s %s: %t", tt.proto, tt.addr, got)
		}
	}
}

// A service that is not in a table feels each connect, so there must be few.
func TestServices_elsewhere(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.14.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
			accepted <- struct{}{}
		}
	}()
	defer func() { ln.Close(); <-done }()

	now := time.Unix(0, 0)
	s := NewServices()
	s.now = func() time.Time { return now }
	s.table = func(bool, bool) (listeners, error) { return nil, errors.ErrUnsupported }
	services := []Service{
		{tables.TCP, ap(ln.Addr().String())},
		{tables.UDP, ap("127.14.0.2:9")}, // cannot be asked
	}
	check := func(want ...error) {
		t.Helper()
		for i, err := range s.Check(t.Context(), services) {
			if !errors.Is(err, want[i]) {
				t.Errorf("%v: got %v, want %v", services[i], err, want[i])
			}
		}
	}
	check(nil, nil)
	<-accepted
	now = now.Add(connectEvery - 1)
	check(nil, nil)
	now = now.Add(1)
	check(nil, nil)
	<-accepted
	if n := len(accepted); n != 0 {
		t.Errorf("%d connects too many", n)
	}
	ln.Close()
	check(nil, nil) // for at most 30 s more
	now = now.Add(connectEvery)
	check(ErrRefused, nil)
	check(ErrNothingListens, nil)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(connectEvery)
	if err := s.Check(ctx, services)[0]; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if len(s.dialled) != 0 {
		t.Errorf("a connect that was cancelled is remembered: %v", s.dialled)
	}
}

func TestServices_ownAddressIsThisHost(t *testing.T) {
	s := NewServices()
	s.table = func(bool, bool) (listeners, error) {
		return listeners{tables.UDP: {ap("0.0.0.0:5353"): true}}, nil
	}
	here := ownAddrs()
	if len(here) == 0 {
		t.Skip("no address")
	}
	var services []Service
	for a := range here {
		services = append(services, Service{tables.UDP, netip.AddrPortFrom(a, 5354)})
	}
	for i, err := range s.Check(t.Context(), services) {
		if !errors.Is(err, ErrNothingListens) {
			t.Errorf("%v: %v", services[i], err)
		}
	}
	// Another host's UDP service cannot be told from silence.
	far := []Service{{tables.UDP, ap("192.0.2.1:5354")}}
	if diff := cmp.Diff([]error{nil}, s.Check(t.Context(), far)); diff != "" {
		t.Error(diff)
	}
}
