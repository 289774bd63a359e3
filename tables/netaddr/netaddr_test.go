package netaddr_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"p2prc/tables/netaddr"
)

func TestFilter_check(t *testing.T) {
	for _, tc := range []struct {
		addr            string
		public, private bool // allowed without and with Private
	}{
		{"8.8.4.4", true, true},
		{"::ffff:8.8.4.4", true, true},
		{"2a00:1450:4001:830::200e", true, true},
		{"127.0.0.1", false, true},
		{"::ffff:127.0.0.1", false, true},
		{"10.1.2.3", false, true},
		{"169.254.169.254", false, true},
		{"100.64.0.1", false, true},
		{"203.0.113.7", false, true},
		{"240.0.0.1", false, true},
		{"0.0.0.0", false, false},
		{"0.1.2.3", false, true},
		{"224.0.0.1", false, false},
		{"255.255.255.255", false, false},
		{"::", false, false},
		{"::1", false, true},
		{"fe80::1%eth0", false, true},
		{"fd00::1", false, true},
		{"64:ff9b::7f00:1", false, true},
		{"2002:7f00:1::", false, true},
		{"::127.0.0.1", false, true},
		{"ff02::1", false, false},
	} {
		a := netip.MustParseAddr(tc.addr)
		if err := (netaddr.Filter{}).Check(a); (err == nil) != tc.public {
			t.Errorf("%s: %v", a, err)
		}
		if err := (netaddr.Filter{Private: true}).Check(a); (err == nil) != tc.private {
			t.Errorf("%s with private ones allowed: %v", a, err)
		}
	}
	if err := (netaddr.Filter{Private: true}).Check(netip.Addr{}); err == nil {
		t.Error("no address is allowed")
	}
}

// The name passes whoever only looks at names; the address that it leads to
// does not.
func TestFilter_dial(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort("localhost", port)
	if c, err := (netaddr.Filter{}).Dialer().DialContext(context.Background(), "tcp4", at); err == nil || !strings.Contains(err.Error(), "no public address") {
		t.Errorf("got %v, %v", c, err)
	}
	c, err := netaddr.Filter{Private: true}.Dialer().DialContext(context.Background(), "tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
