package proof_test

import (
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every test has a loopback address of its own, so that a port that is free
// there stays free.

func addrOf(t testing.TB, a net.Addr) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(a.String())
}

// listen is somebody else on a port of host.
func listen(t testing.TB, host string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// free is a port of host that nothing listens on.
func free(t testing.TB, host string) netip.AddrPort {
	t.Helper()
	ln := listen(t, host)
	defer ln.Close()
	return addrOf(t, ln.Addr())
}

// serve hands each connection to handle, one after the other, until the test ends.
func serve(t testing.TB, ln net.Listener, handle func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			handle(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
}

var bothProtocols = []tables.Protocol{tables.TCP, tables.UDP}

func guard(t testing.TB, proto tables.Protocol, at netip.AddrPort, id, key string) interface{ Close() error } {
	t.Helper()
	g, err := proof.Guard(proto, at, id, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}
