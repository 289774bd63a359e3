package record_test

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/record"
)

// aSite is the lease of a domain: app.example.org, on port 443 for all.
func aSite(proxy, node identity.Key, name string, until time.Time) lease.Signed {
	return lease.Signed{
		Proxy: proxy.ID(), Node: node.ID(), Name: name, Type: tables.HTTPS, Port: 443, LeaseID: "l-" + name, Until: until, Domain: "app.example.org",
	}
}

func domainText(proxy, node identity.Key, name string, serial uint64, issued time.Time) text {
	x := claimText(proxy, node, name, serial, issued)
	x.kind = "domain"
	return x.leased(aSite(proxy, node, name, issued.Add(record.MaxLife)), proxy)
}

// leased is the claim with another lease in it.
func (x text) leased(s lease.Signed, signedBy identity.Key) text {
	return x.with("lease " + base64.RawStdEncoding.EncodeToString(s.Sign(signedBy.Sign)))
}

func aDomain(t testing.TB, proxy identity.Key, s lease.Signed) *record.Claim {
	t.Helper()
	c, err := record.NewClaim(s.Sign(proxy.Sign), proxy.Public(), record.Claim{Server: "home", Address: netip.MustParseAddr("198.51.100.7")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDomain_exactBytes(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	s := signer(t, node, func() time.Time { return start })
	c := aDomain(t, proxy, aSite(proxy, node, "web", start.Add(record.MaxLife)))
	sameBytes(t, s, c, domainText(proxy, node, "web", uint64(start.UnixMilli()), start).sign(node))
}

// The longest that a claim can be is a record too.
func TestDomain_longest(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	longest := strings.Repeat("n", tables.MaxName)
	s := aSite(proxy, node, longest, start.Add(record.MaxLife))
	s.Port, s.LeaseID, s.Domain = 65535, longest, strings.Repeat("a.", 125)+"org"
	c := aDomain(t, proxy, s)
	c.Server, c.Address, c.Role = longest, netip.MustParseAddr("198.151.100.107"), record.Standby
	r, err := signer(t, node, func() time.Time { return start }).Sign(c)
	if err != nil || len(s.Domain) != 253 {
		t.Errorf("%v, %v", r, err)
	}
}

// What a claim says of its domain stands in the lease alone, in one spelling, and
// goes with the kind of record that it is.
func TestDomain_malformed(t *testing.T) {
	proxy, node, other := keyOf(0), keyOf(1), keyOf(2)
	good := domainText(proxy, node, "web", 7, start)
	if _, err := record.Parse(good.sign(node)); err != nil {
		t.Fatal(err)
	}
	until := start.Add(record.MaxLife)
	site := func(f func(s *lease.Signed)) text {
		s := aSite(proxy, node, "web", until)
		f(&s)
		return good.leased(s, proxy)
	}
	as := func(kind string, x text) text { x.kind = kind; return x }
	for name, x := range map[string]text{
		"as a port":                as("claim", good),
		"a port":                   as("domain", claimText(proxy, node, "web", 7, start)),
		"another's":                domainText(proxy, other, "web", 7, start),
		"under another name":       good.leased(aSite(proxy, node, "ssh", until), proxy),
		"of TCP":                   site(func(s *lease.Signed) { s.Type = tables.TCP }),
		"of TCP, as a port":        as("claim", site(func(s *lease.Signed) { s.Type = tables.TCP })),
		"of UDP":                   site(func(s *lease.Signed) { s.Type = tables.UDP }),
		"HTTP without one":         site(func(s *lease.Signed) { s.Type, s.Domain = tables.HTTP, "" }),
		"HTTPS without one":        site(func(s *lease.Signed) { s.Domain = "" }),
		"TCP without one":          site(func(s *lease.Signed) { s.Type, s.Domain = tables.TCP, "" }),
		"HTTP without one, a port": as("claim", site(func(s *lease.Signed) { s.Type, s.Domain = tables.HTTP, "" })),
		"in capitals":              site(func(s *lease.Signed) { s.Domain = "App.example.org" }),
		"with a dot behind":        site(func(s *lease.Signed) { s.Domain += "." }),
		"everybody's":              site(func(s *lease.Signed) { s.Domain = "*.example.org" }),
		"an address":               site(func(s *lease.Signed) { s.Domain = "198.51.100.7" }),
		"too long":                 site(func(s *lease.Signed) { s.Domain = strings.Repeat("a.", 127) + "org" }),
		"two":                      site(func(s *lease.Signed) { s.Domain += "\nb.example.org" }),
		"the node's canary":        site(func(s *lease.Signed) { s.Domain = tables.CanaryDomain(node.ID()) }),
		"like a canary":            site(func(s *lease.Signed) { s.Domain = "x.p2prc.invalid" }),
		"on port 0":                site(func(s *lease.Signed) { s.Port = 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := record.Parse(x.sign(node)); !errors.Is(err, record.ErrMalformed) {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	canary := aSite(proxy, node, "web", until)
	canary.Domain = tables.CanaryDomain(node.ID())
	if c, err := record.NewClaim(canary.Sign(proxy.Sign), proxy.Public(), record.Claim{}); err == nil {
		t.Errorf("a canary is claimed: %+v", c)
	}
}

// Whose a domain is says the reverse proxy, and nobody else.
func TestDomain_forged(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	until := start.Add(record.MaxLife)
	good := domainText(proxy, node, "web", 7, start)
	bank := aSite(proxy, node, "web", until)
	bank.Domain = "bank.example.org"
	signed := aSite(proxy, node, "web", until).Sign(proxy.Sign)
	moved := append(bank.Sign(func([]byte) []byte { return nil }), signed[len(signed)-64:]...)
	s := record.New(record.Options{})
	for name, x := range map[string]text{
		"signed by the node":          good.leased(bank, node),
		"below another's signature":   good.with("lease " + base64.RawStdEncoding.EncodeToString(moved)),
		"below a signature of nobody": good.leased(bank, keyOf(2)),
	} {
		m := s.Merge(start, "", x.sign(node))
		if len(m.Changed) != 0 || !errors.Is(m.Bad(), record.ErrForged) {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if s.Len() != 0 {
		t.Errorf("%d records entered", s.Len())
	}
}

// A name is a port's or a domain's: what was said last holds, and takes the room
// of the other.
func TestDomain_afterPort(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	port, domain := claimText(proxy, node, "web", 7, start).sign(node), domainText(proxy, node, "web", 8, start).sign(node)
	for _, order := range [][][]byte{{port, domain}, {domain, port}} {
		s := record.New(record.Options{Limits: record.Limits{Sponsored: 1}})
		s.Merge(start, "", order...)
		all := s.All(start)
		if len(all) != 1 || all[0].Kind() != record.KindDomain {
			t.Errorf("got %v", all)
		}
		merge(t, s, start, goneText("claim/"+string(proxy.ID())+"/web", 9, start).sign(node))
		if c := s.View(start).Claims; len(c) != 0 {
			t.Errorf("taken back, and there is %+v", c)
		}
	}
}

// A witness dials the canary of a node, and no other domain.
func TestWitness_domain(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	parsed := func(x text) *record.Record {
		r, err := record.Parse(x.sign(proxy))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	lends := parsed(proxyText(1, start).with("http-port 80").with("https-port 443"))
	for _, tc := range []struct {
		name, err string
		change    func(s *lease.Signed)
		proxy     *record.Record
	}{
		{"the canary", "", func(*lease.Signed) {}, lends},
		{"the canary of HTTP", "", func(s *lease.Signed) { s.Type, s.Port = tables.HTTP, 80 }, lends},
		{"a service's domain", "not the node's own", func(s *lease.Signed) { s.Domain = "app.example.org" }, lends},
		{"another node's canary", "not the node's own", func(s *lease.Signed) { s.Domain = tables.CanaryDomain(proxy.ID()) }, lends},
		{"another port", "not the one", func(s *lease.Signed) { s.Port = 22 }, lends},
		{"the port of HTTP", "not the one", func(s *lease.Signed) { s.Port = 80 }, lends},
		{"a port of the pool", "not the one", func(s *lease.Signed) { s.Port = 20000 }, lends},
		{"where none are lent", "not the one", func(*lease.Signed) {}, parsed(proxyText(1, start))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := aSite(proxy, node, "p2prc-https", start.Add(time.Hour))
			s.Domain = tables.CanaryDomain(node.ID())
			tc.change(&s)
			at, got, err := record.Witness(s.Sign(proxy.Sign), tc.proxy, start)
			if tc.err == "" {
				if err != nil || at != netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), s.Port) || got != s {
					t.Errorf("got %v, %+v, %v", at, got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) || at.IsValid() {
				t.Errorf("got %v, %v", at, err)
			}
		})
	}
}
