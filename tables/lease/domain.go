package lease

import (
	"time"

	"p2prc/tables"
	"p2prc/tables/peerapi"
)

// A domain is leased like a port, and there is no guard for it: the port is frps's
// own from its start, and whoever asks for a domain that no proxy has open
// there is told so by frps.

// namePort is the port that all domains of a protocol share; 0: none are lent.
func (b *Book) namePort(proto tables.Protocol) uint16 {
	return proto.NamePort(b.o.HTTPPort, b.o.HTTPSPort)
}

// domain serves a want for a domain: that one, or none. It belongs to whoever
// had it reserved first, for as long as that reservation is kept.
func (p *plan) domain(g *grant, w peerapi.Want) (done bool, err error) {
	b := p.b
	s := slot{proto: w.Type, domain: w.Domain}
	switch {
	case !b.lendable(s):
		return true, refuse(peerapi.CodeNoDomains, "the reverse proxy lends no %s domains: it was started without --%s-port", w.Type, w.Type.FRP())
	case tables.IsCanaryDomain(w.Domain) && w.Domain != tables.CanaryDomain(p.node):
		return true, refuse(peerapi.CodeDomainTaken, "the domain %s is for proofs", w.Domain)
	}
	if e := b.nodes[p.node][w.Name]; e != nil {
		if !e.leaving && e.slot() == s {
			p.domainAgain(g, e)
			return true, nil
		}
		g.old, e.leaving = e, true
	}
	if p.free(s, w.Name, true) {
		if ok, err := p.grab(g, w, s, ""); ok || err != nil {
			return true, err
		}
	}
	if e := b.slots[s]; e != nil && e.row.NodeID == p.node {
		return true, refuse(peerapi.CodeDomainTaken, "this node maps the domain %s as %s already", w.Domain, e.row.Name)
	}
	return true, refuse(peerapi.CodeDomainTaken, "the domain %s belongs to another node at this reverse proxy", w.Domain)
}

// domainAgain grants the domain that the node and name have.
func (p *plan) domainAgain(g *grant, e *entry) {
	id := e.row.LeaseID
	if id == "" { // given back
		id = newLeaseID()
	}
	end := p.now.Add(Hold)
	if e.end.After(end) {
		end = e.end
	}
	p.grant(g, e, id, end)
}

// takeDomain stands in for a guard: ErrInUse says that frps has the domain.
func (b *Book) takeDomain(e *entry) error {
	if _, ok := b.online[e.slot()]; ok {
		return ErrInUse
	}
	e.admitted, e.online = time.Time{}, false
	return nil
}
