package lease_test

import (
	"slices"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

const app = "app.example.org"

func wantDomain(name string, proto tables.Protocol, domain string) peerapi.Want {
	return peerapi.Want{Name: name, Type: proto, Domain: domain}
}

func (w *world) withDomains() lease.Options {
	o := w.options(pool3)
	o.HTTPPort, o.HTTPSPort = 80, 443
	return o
}

func admitDomain(b *lease.Book, node identity.ID, l peerapi.Lease) error {
	return b.AdmitDomain(node, l.Name, l.Type, l.Domain, l.ID)
}

func TestDomain_oneOwner(t *testing.T) {
	w := newWorld()
	b := open(t, w.withDomains())
	l := must(t, b, alice, request("r1", wantDomain("web", tables.HTTP, app), want("ssh")))[0]
	if l.Domain != app || l.Port != 80 || l.Guarded || l.TTL.Duration() != lease.Hold {
		t.Errorf("leased %+v", l)
	}
	if s, err := lease.ParseSigned(l.Signed, verify); err != nil || s.Type != tables.HTTP || s.Domain != app || s.Port != 80 || s.Node != alice || s.LeaseID != l.ID {
		t.Errorf("signed %+v, %v", s, err)
	}
	if len(w.guards) != 1 {
		t.Errorf("%d guards, one for ssh is meant to be there", len(w.guards))
	}
	refused := func(node identity.ID, code peerapi.Code, wants ...peerapi.Want) {
		t.Helper()
		if _, err := b.Reserve(node, request("r", wants...)); codeOf(err) != code {
			t.Errorf("%v: %v, want %s", wants, err, code)
		}
	}
	refused(bob, peerapi.CodeDomainTaken, wantDomain("his", tables.HTTP, app))
	refused(alice, peerapi.CodeDomainTaken, wantDomain("twice", tables.HTTP, app))
	must(t, b, bob, request("r2", wantDomain("tls", tables.HTTPS, app))) // an owner for each kind
	if again := must(t, b, alice, request("r3", wantDomain("web", tables.HTTP, app)))[0]; again.ID != l.ID {
		t.Errorf("the same want gets another lease: %+v", again)
	}

	if err := b.Release(alice, []string{l.ID}); err != nil {
		t.Fatal(err)
	}
	refused(bob, peerapi.CodeDomainTaken, wantDomain("his", tables.HTTP, app))
	w.now = w.now.Add(lease.Keep - time.Hour)
	refused(bob, peerapi.CodeDomainTaken, wantDomain("his", tables.HTTP, app))
	// Under another name it is still its node's.
	must(t, b, alice, request("r4", wantDomain("site", tables.HTTP, app)))

	w.now = w.now.Add(lease.Keep + time.Hour)
	for range 2 { // the lease runs out, then the reservation
		if _, err := b.Observe(w.now, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.now = w.now.Add(lease.Quarantine)
	must(t, b, bob, request("r5", wantDomain("his", tables.HTTP, app)))
}

func TestDomain_durable(t *testing.T) {
	w := newWorld()
	l := must(t, open(t, w.withDomains()), alice, request("r1", wantDomain("web", tables.HTTP, app)))[0]
	w.died()
	b := open(t, w.withDomains())
	b.FRPSGone()
	if err := admitDomain(b, alice, l); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := b.Reserve(bob, request("r2", wantDomain("his", tables.HTTP, app))); codeOf(err) != peerapi.CodeDomainTaken {
		t.Errorf("after a restart: %v", err)
	}

	w.died()
	o := w.withDomains()
	o.HTTPPort = 8080
	b = open(t, o)
	b.FRPSGone()
	if err := admitDomain(b, alice, l); err == nil {
		t.Error("the old lease counts, although its node does not know the new port")
	}
	if got := must(t, b, alice, request("r3", wantDomain("web", tables.HTTP, app)))[0]; got.Port != 8080 {
		t.Errorf("leased %+v", got)
	}

	w.died()
	b = open(t, w.options(pool3))
	b.FRPSGone()
	if _, err := b.Reserve(alice, request("r4", wantDomain("web", tables.HTTP, app))); codeOf(err) != peerapi.CodeNoDomains {
		t.Errorf("where none are lent: %v", err)
	}
	if s, ok := b.Get(alice, "web"); !ok || s.Domain != app {
		t.Errorf("the reservation is gone: %+v, %v", s, ok)
	}
}

func TestDomain_gate(t *testing.T) {
	w := newWorld()
	b := open(t, w.withDomains())
	b.FRPSGone()
	got := must(t, b, alice, request("r1", wantDomain("web", tables.HTTP, app), want("ssh")))
	web, ssh := got[0], got[1]
	for name, err := range map[string]error{
		"another node":     admitDomain(b, bob, web),
		"another domain":   b.AdmitDomain(alice, "web", tables.HTTP, "b.example.org", web.ID),
		"no domain":        b.AdmitDomain(alice, "web", tables.HTTP, "", web.ID),
		"another kind":     b.AdmitDomain(alice, "web", tables.HTTPS, app, web.ID),
		"another lease":    b.AdmitDomain(alice, "web", tables.HTTP, app, ssh.ID),
		"as a port":        b.Admit(alice, "web", tables.TCP, 80, web.ID),
		"a port's lease":   b.AdmitDomain(alice, "ssh", tables.HTTP, app, ssh.ID),
		"its port as HTTP": b.Admit(alice, "web", tables.HTTP, 80, web.ID),
	} {
		if err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	online := func() bool {
		t.Helper()
		r, err := b.Renew(alice, []lease.Renewal{{LeaseID: web.ID}})
		if err != nil || r[0].TTL == 0 {
			t.Fatalf("renewed %+v, %v", r, err)
		}
		return r[0].Online
	}
	if err := admitDomain(b, alice, web); err != nil {
		t.Fatal(err)
	}
	at := lease.Online{Node: alice, Name: "web", Type: tables.HTTP, Domain: "b.example.org"}
	b.Seen([]lease.Online{at})
	if online() {
		t.Error("online under another domain")
	}
	at.Domain = app
	b.Seen([]lease.Online{at})
	if !online() {
		t.Error("not online although frps lists it")
	}
	// To ask again does not make it less so, even before the next listing.
	must(t, b, alice, request("r2", wantDomain("web", tables.HTTP, app)))
	if !online() {
		t.Error("asking again took it off line")
	}
	w.now = w.now.Add(time.Minute)
	found, err := b.Observe(w.now, []lease.Online{at, {Node: bob, Name: "x", Type: tables.HTTP, Domain: "c.example.org"}})
	squats := func(f lease.Finding) bool { return f.Kind == lease.Squatter }
	if i := slices.IndexFunc(found, squats); err != nil || i < 0 || found[i].Name != "x" || slices.ContainsFunc(found[i+1:], squats) {
		t.Errorf("found %+v, %v", found, err)
	}
	w.now = w.now.Add(time.Minute)
	if found, err := b.Observe(w.now, nil); err != nil || slices.ContainsFunc(found, squats) || online() {
		t.Errorf("frps lost it: %+v, %v", found, err)
	}
}

func TestDomain_canary(t *testing.T) {
	w := newWorld()
	b := open(t, w.withDomains())
	must(t, b, alice, request("r1", wantDomain("p2prc-http", tables.HTTP, tables.CanaryDomain(alice))))
	for _, domain := range []string{tables.CanaryDomain(alice), "x.p2prc.invalid", "x." + tables.CanaryDomain(bob)} {
		if _, err := b.Reserve(bob, request("r2", wantDomain("x", tables.HTTP, domain))); codeOf(err) != peerapi.CodeDomainTaken {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

func TestDomain_refused(t *testing.T) {
	w := newWorld()
	o := w.withDomains()
	o.MaxPorts = 2
	b := open(t, o)
	port, candidate, another := wantDomain("a", tables.HTTP, app), wantDomain("a", tables.HTTP, app), wantDomain("a", tables.HTTP, app)
	port.Port, candidate.Candidates, another.Another = 80, []uint16{80}, true
	tcp := want("a")
	tcp.Domain = app
	for _, want := range []peerapi.Want{
		port, candidate, another, tcp, wantDomain("a", tables.HTTP, ""), wantDomain("a", tables.HTTP, "*.example.org"), wantDomain("a", tables.HTTPS, "APP.example.org"),
	} {
		if _, err := b.Reserve(alice, request("r1", want)); codeOf(err) != peerapi.CodeBadRequest {
			t.Errorf("%+v: %v", want, err)
		}
	}
	must(t, b, alice, request("r2", want("ssh"), wantDomain("web", tables.HTTP, app)))
	if _, err := b.Reserve(alice, request("r3", wantDomain("more", tables.HTTP, "b.example.org"))); codeOf(err) != peerapi.CodeQuota {
		t.Errorf("a domain does not count: %v", err)
	}
	// A name that was a port becomes a domain, and its port is free.
	must(t, b, alice, request("r4", wantDomain("ssh", tables.HTTPS, app)))
	if len(w.guards) != 0 {
		t.Error("the port that was given up is held")
	}
}
