package supervisor

import (
	"net"
	"strings"
	"testing"

	"p2prc/tables"
)

func ifaceAddrs(t *testing.T, cidrs ...string) []net.Addr {
	t.Helper()
	var out []net.Addr
	for _, c := range cidrs {
		ip, n, err := net.ParseCIDR(c)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	return out
}

func TestPublicAddress(t *testing.T) {
	for _, tc := range []struct {
		name, want, err string
		addrs           []string
	}{
		{name: "one", addrs: []string{"127.0.0.1/8", "10.0.0.5/8", "8.8.4.4/24", "2001:4860::1/64"}, want: "8.8.4.4"},
		{name: "behind NAT", addrs: []string{"127.0.0.1/8", "192.168.1.5/24", "100.70.0.1/10", "169.254.1.1/16"}, err: "no interface"},
		{name: "several", addrs: []string{"8.8.4.4/24", "9.9.9.9/24"}, err: "several"},
		{name: "documentation", addrs: []string{"203.0.113.7/24"}, err: "no interface"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := publicAddress(ifaceAddrs(t, tc.addrs...))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, %v; want an error with %q", got, err, tc.err)
				}
				return
			}
			if err != nil || got.String() != tc.want {
				t.Fatalf("got %v, %v; want %s", got, err, tc.want)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	pool := tables.PortRange{First: 20000, Last: 29999}
	if got := overlap(pool, "32768\t60999\n"); got != "" {
		t.Errorf("apart: %s", got)
	}
	if got := overlap(pool, "1024\t65535\n"); !strings.Contains(got, "1024-65535") {
		t.Errorf("overlapping: %q", got)
	}
	if got := overlap(pool, ""); got != "" {
		t.Errorf("unknown: %s", got)
	}
}
