package identity_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"p2prc/tables/identity"
)

func TestParseJoin(t *testing.T) {
	const pin = "abcdefghijklmnopqrstuvwxyz234567"
	const secret = "mfrggzdfmztwq2lknnwg23tpob"
	token, err := identity.ParseToken(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   string
		want identity.Join
	}{
		{"203.0.113.7", identity.Join{Host: "203.0.113.7", Port: 8088}},
		{"203.0.113.7:9000", identity.Join{Host: "203.0.113.7", Port: 9000}},
		{"proxy.example.org", identity.Join{Host: "proxy.example.org", Port: 8088}},
		{"Proxy.Example.ORG:1", identity.Join{Host: "proxy.example.org", Port: 1}},
		{"localhost", identity.Join{Host: "localhost", Port: 8088}},
		{"xn--bcher-kva.example", identity.Join{Host: "xn--bcher-kva.example", Port: 8088}},
		{"p2prc://203.0.113.7", identity.Join{Host: "203.0.113.7", Port: 8088}},
		{"p2prc://h:65535#" + pin, identity.Join{Host: "h", Port: 65535, Pin: pin}},
		{"p2prc://h:8088#" + pin + "/" + secret, identity.Join{Host: "h", Port: 8088, Pin: pin, Token: token}},
		{"p2prc://h:8088#/" + secret, identity.Join{Host: "h", Port: 8088, Token: token}},
		{"h#" + pin + "/" + secret, identity.Join{Host: "h", Port: 8088, Pin: pin, Token: token}},
	} {
		got, err := identity.ParseJoin(tt.in)
		if err != nil {
			t.Errorf("ParseJoin(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseJoin(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseJoin_refuses(t *testing.T) {
	const pin = "abcdefghijklmnopqrstuvwxyz234567"
	for _, tt := range []struct {
		name, in, want string
	}{
		{"nothing", "", "missing"},
		{"only the scheme", "p2prc://", "missing"},
		{"another scheme", "https://203.0.113.7", "only p2prc://"},
		{"IPv6", "2001:db8::1", "IPv6"},
		{"IPv6 in brackets", "[2001:db8::1]:8088", "IPv6"},
		{"IPv6 in brackets and scheme", "p2prc://[::1]", "IPv6"},
		{"mapped IPv4", "::ffff:203.0.113.7", "IPv6"},
		{"every address", "0.0.0.0", "can be connected to"},
		{"multicast", "224.0.0.1", "can be connected to"},
		{"broadcast", "255.255.255.255", "can be connected to"},
		{"octet too large", "256.1.1.1", "looks like an IPv4"},
		{"three octets", "10.0.1", "looks like an IPv4"},
		{"a number", "2130706433", "looks like an IPv4"},
		{"a hex number", "0x7f000001", "looks like an IPv4"},
		{"leading zero", "010.0.0.1", "looks like an IPv4"},
		{"port 0", "h:0", "port"},
		{"port too large", "h:65536", "port"},
		{"port empty", "h:", "port"},
		{"port signed", "h:+1", "port"},
		{"port not a number", "h:http", "port"},
		{"empty label", "a..b", "DNS name"},
		{"dot at the end", "a.b.", "DNS name"},
		{"dash first", "-a.b", "DNS name"},
		{"dash last", "a-.b", "DNS name"},
		{"underscore", "a_b", "DNS name"},
		{"space", "a b", "DNS name"},
		{"path", "h/x", "DNS name"},
		{"user", "root@h", "DNS name"},
		{"not ASCII", "bücher.example", "DNS name"},
		{"NUL", "h\x00", "DNS name"},
		{"long label", strings.Repeat("a", 64) + ".b", "DNS name"},
		{"long name", strings.Repeat("a.", 127) + "b", "longer than"},
		{"short pin", "h#abc", "node ID"},
		{"pin in upper case", "h#" + strings.ToUpper(pin), "node ID"},
		{"short token", "h#" + pin + "/abc", "128 bit"},
		{"empty token", "h#" + pin + "/", "empty"},
		{"token for a pin", "h#mfrggzdfmztwq2lknnwg23tpob", "node ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := identity.ParseJoin(tt.in)
			if err == nil {
				t.Fatalf("accepted as %v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "mfrgg") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestJoin_roundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := identity.Join{
			Host: rapid.OneOf(
				rapid.StringMatching(`[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z][a-z0-9]{0,5}){0,3}`),
				rapid.Just("203.0.113.7")).Draw(t, "host"),
			Port: rapid.Uint16Range(1, 65535).Draw(t, "port"),
		}
		if rapid.Bool().Draw(t, "pin") {
			j.Pin = identity.ID(rapid.StringMatching(`[a-z2-7]{32}`).Draw(t, "id"))
		}
		if rapid.Bool().Draw(t, "token") {
			j.Token = identity.NewToken()
		}
		got, err := identity.ParseJoin(j.Reveal())
		if err != nil {
			t.Fatalf("%q: %v", j.Reveal(), err)
		}
		if diff := cmp.Diff(j, got); diff != "" {
			t.Fatal(diff)
		}
		if !j.Token.Zero() && strings.Contains(j.String(), j.Token.Reveal()) {
			t.Fatal("String shows the token")
		}
		if j.Token.Zero() && j.String() != j.Reveal() {
			t.Fatalf("%q and %q", j.String(), j.Reveal())
		}
	})
}

func FuzzParseJoin(f *testing.F) {
	f.Add("p2prc://203.0.113.7:8088#abcdefghijklmnopqrstuvwxyz234567/mfrggzdfmztwq2lknnwg23tpob")
	f.Add("203.0.113.7")
	f.Add("[::1]:1#/")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := identity.ParseJoin(s)
		if err != nil {
			return
		}
		again, err := identity.ParseJoin(j.Reveal())
		if err != nil || !cmp.Equal(j, again) {
			t.Fatalf("%q was read as %q and then as %q, %v", s, j.Reveal(), again.Reveal(), err)
		}
		if strings.ContainsAny(j.Host, " /\\\"'{}%\x00\n\x1b[]@:#") {
			t.Fatalf("host %q", j.Host)
		}
	})
}
