package peerapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// All ports that a node may have go through in one call each, with every name,
// lease and list of candidates as long as it may be.
func TestSizes_allPortsOfANodeInOneCall(t *testing.T) {
	p := newProxy().serve(t, nil)
	c := p.client(t, func(o *peerapi.ClientOptions) { p.admit(o.Key.ID()) })
	longest := func(i int) string { return fmt.Sprintf("%04d%s", i, strings.Repeat("n", tables.MaxName-4)) }
	signed := lease.Signed{
		Proxy: p.key.ID(), Node: identity.NewKey().ID(), Name: longest(0), Type: tables.TCP, Port: 29999,
		LeaseID: longest(0), Until: time.Now(),
	}.Sign(p.key.Sign)
	req := peerapi.ReserveRequest{ID: "r", Name: longest(0)}
	var report peerapi.ReportRequest
	var release peerapi.ReleaseRequest
	for i := range lease.MaxPorts {
		w := peerapi.Want{Name: longest(i), Type: tables.UDP, Port: 29999, Lease: signed, Another: true}
		for range 40 { // the longest list that fits; a server asks with four
			w.Candidates = append(w.Candidates, 29999)
		}
		req.Wants = append(req.Wants, w)
		report.Rows = append(report.Rows, peerapi.Row{LeaseID: longest(i), State: tables.Waiting, Reason: strings.Repeat("r", 300), Proved: strings.Repeat("p", 300), Node: true})
		release.LeaseIDs = append(release.LeaseIDs, longest(i))
	}
	b, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for %d ports", len(b), lease.MaxPorts)

	p.reserve = func(_ context.Context, req peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
		r := peerapi.ReserveReply{FRP: peerapi.FRP{Token: strings.Repeat("t", 64), CertPEM: make([]byte, 2048), Credential: strings.Repeat("c", 64)}}
		for _, w := range req.Wants {
			r.Leases = append(r.Leases, peerapi.Lease{
				Name: w.Name, Type: w.Type, Port: 29999, ID: w.Name, TTL: 600000, Signed: signed, GuardKey: make([]byte, 32), Guarded: true, Proved: true,
			})
		}
		return r, nil
	}
	if r, err := c.Reserve(t.Context(), req); err != nil || len(r.Leases) != lease.MaxPorts {
		t.Errorf("%d leases, %v", len(r.Leases), err)
	}
	if r, err := c.Report(t.Context(), report); err != nil || len(r.Rows) != lease.MaxPorts {
		t.Errorf("%d rows, %v", len(r.Rows), err)
	}
	if err := c.Release(t.Context(), release); err != nil {
		t.Error(err)
	}

	// A server asks for half as many domains at once: an answer repeats them.
	domain := strings.Repeat("a.", 125) + "org"
	site := lease.Signed{
		Proxy: p.key.ID(), Node: identity.NewKey().ID(), Name: longest(0), Type: tables.HTTPS, Port: 65535,
		LeaseID: longest(0), Until: time.Now(), Domain: domain,
	}.Sign(p.key.Sign)
	p.reserve = func(_ context.Context, req peerapi.ReserveRequest) (r peerapi.ReserveReply, err error) {
		for _, w := range req.Wants {
			r.Leases = append(r.Leases, peerapi.Lease{
				Name: w.Name, Type: w.Type, Port: 65535, ID: w.Name, TTL: 600000, Signed: site, GuardKey: make([]byte, 32), Domain: domain,
			})
		}
		return r, nil
	}
	sites := peerapi.ReserveRequest{ID: "r", Name: longest(0)}
	for i := range lease.MaxPorts / 2 {
		sites.Wants = append(sites.Wants, peerapi.Want{Name: longest(i), Type: tables.HTTPS, Domain: domain})
	}
	if r, err := c.Reserve(t.Context(), sites); err != nil || len(r.Leases) != len(sites.Wants) {
		t.Errorf("%d leases of domains, %v", len(r.Leases), err)
	}
	req.Wants[0].Lease = make([]byte, peerapi.MaxBody)
	if _, err := c.Reserve(t.Context(), req); err == nil || !strings.Contains(err.Error(), "more than a request may have") {
		t.Errorf("error %v", err)
	}
}

func BenchmarkJoinAndHello(b *testing.B) {
	p := newProxy()
	token := identity.NewToken()
	p.tokens = []identity.Token{token}
	p.serve(b, nil)
	for b.Loop() {
		c := peerapi.NewClient(peerapi.ClientOptions{
			Key: identity.NewKey(), Host: p.addr.Addr().String(), Port: p.addr.Port(), Token: token, Name: "node",
		})
		if h, err := c.Hello(b.Context()); err != nil || !h.Admitted {
			b.Fatal(h, err)
		}
		c.Close()
	}
}
