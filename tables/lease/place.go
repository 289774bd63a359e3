package lease

import (
	"cmp"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"p2prc/tables"
	"p2prc/tables/peerapi"
)

// place finds a port for every want. Those that can have only one port come
// first: another want must not get it by chance. mu is let go between two
// wants: a thousand guards take 60 ms, and the gate must not wait for all.
func (p *plan) place() error {
	p.grants = make([]grant, len(p.req.Wants))
	var open []int
	for i, w := range p.req.Wants {
		p.b.mu.Lock()
		fixed := p.fixed
		if w.Type.ByName() {
			fixed = p.domain
		}
		done, err := fixed(&p.grants[i], w)
		p.b.mu.Unlock()
		if err != nil {
			return err
		}
		if !done {
			open = append(open, i)
		}
	}
	for _, i := range open {
		p.b.mu.Lock()
		err := p.pick(&p.grants[i], p.req.Wants[i])
		p.b.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return p.checkQuota()
}

func (p *plan) checkQuota() error {
	names := len(p.b.nodes[p.node])
	for _, g := range p.grants {
		if p.b.nodes[p.node][g.row.Name] == nil {
			names++
		}
	}
	for _, e := range p.dropped {
		if e.row.NodeID == p.node {
			names--
		}
	}
	if names > p.b.maxPorts {
		names -= p.makeRoom(names - p.b.maxPorts)
	}
	if names > p.b.maxPorts {
		return refuse(peerapi.CodeQuota, "with this request the node would have %d ports; it may have %d on this reverse proxy", names, p.b.maxPorts)
	}
	return nil
}

// makeRoom drops the reservations of this node that were used longest ago and
// that it does nothing with, n at most: a node that maps and unmaps under ever
// new names must not run into its quota for 90 days.
func (p *plan) makeRoom(n int) int {
	var old []*entry
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for _, e := range p.b.nodes[p.node] {
		if _, listed := p.b.online[e.slot()]; !listed && !e.live(p.now) && !e.leaving && !p.granted[e.slot()] {
			old = append(old, e)
		}
	}
	slices.SortFunc(old, func(x, y *entry) int {
		return cmp.Or(x.row.UsedAt.Compare(y.row.UsedAt), cmp.Compare(x.row.Name, y.row.Name))
	})
	old = old[:min(n, len(old))]
	for _, e := range old {
		e.leaving = true
		p.dropped = append(p.dropped, e)
	}
	return len(old)
}

// fixed serves a want that has a port already, or asks for a certain one.
func (p *plan) fixed(g *grant, w peerapi.Want) (done bool, err error) {
	if e := p.b.nodes[p.node][w.Name]; e != nil {
		if !e.leaving && e.row.Type == w.Type && (w.Port == 0 || w.Port == e.row.Port) && p.b.lendable(e.slot()) {
			if !w.Another || w.Port != 0 || p.repeated {
				if had, err := p.again(g, e); had || err != nil {
					return true, err
				}
			}
			g.stolen = true
		}
		g.old, e.leaving = e, true
	}
	if w.Port == 0 {
		return false, nil
	}
	s := slot{proto: w.Type, port: w.Port}
	if !p.b.lendable(s) {
		return true, refuse(peerapi.CodePortTaken, "port %d is not one that this reverse proxy lends, of %s", w.Port, p.b.o.Pool)
	}
	if p.free(s, w.Name, true) {
		if ok, err := p.grab(g, w, s, ""); ok || err != nil {
			return true, err
		}
	}
	return true, refuse(peerapi.CodePortTaken, "%s is taken on the reverse proxy", s)
}

// again grants the port that the node and name have. They cannot have it when
// somebody else holds it: neither p2prc nor frps for them.
func (p *plan) again(g *grant, e *entry) (had bool, err error) {
	id := e.row.LeaseID
	if id == "" { // given back
		id = newLeaseID()
	}
	if e.guard == nil && !e.justAdmitted(p.now) {
		err := p.b.take(e, id)
		switch {
		case err == nil:
			p.taken = append(p.taken, e)
		case !errors.Is(err, ErrInUse):
			return false, unavailable("the reverse proxy could not hold a port", err)
		case !e.online && !p.b.unsettled(e):
			return false, nil
		}
	}
	end := p.now.Add(Hold)
	if e.end.After(end) {
		end = e.end
	}
	p.grant(g, e, id, end)
	return true, nil
}

// pick serves a want that takes what it can get: the port of its last signed
// lease, a candidate, a port that was never used, the oldest reservation that
// nobody has a lease on.
func (p *plan) pick(g *grant, w peerapi.Want) error {
	if s, ok := p.signed[w.Name]; ok && !w.Another {
		if ok, err := p.try(g, w, s.Port, s.LeaseID); ok || err != nil {
			return err
		}
	}
	for _, port := range w.Candidates {
		if ok, err := p.try(g, w, port, ""); ok || err != nil {
			return err
		}
	}
	if ok, err := p.neverUsed(g, w); ok || err != nil {
		return err
	}
	if ok, err := p.reclaim(g, w); ok || err != nil {
		return err
	}
	return refuse(peerapi.CodePoolFull, "the reverse proxy has no free %s port left in %s", w.Type, p.b.o.Pool)
}

// neverUsed searches on from where the last search ended, so that a port
// that was given up is the last to come round again.
func (p *plan) neverUsed(g *grant, w peerapi.Want) (bool, error) {
	b, n := p.b, p.b.o.Pool.Len()
	if p.searched[w.Type] {
		return false, nil
	}
	for range n {
		at := b.cursor[w.Type]
		b.cursor[w.Type] = (at + 1) % n
		if ok, err := p.try(g, w, b.o.Pool.First+uint16(at), ""); ok || err != nil {
			return ok, err
		}
	}
	p.searched[w.Type] = true
	return false, nil
}

// reclaim takes the reservation that was used longest ago.
func (p *plan) reclaim(g *grant, w peerapi.Want) (bool, error) {
	old, ok := p.reclaimable[w.Type]
	if !ok {
		for s, e := range p.b.slots {
			if s.proto == w.Type && !e.leaving && !p.granted[s] && p.idle(e) && p.b.lendable(s) {
				old = append(old, e)
			}
		}
		slices.SortFunc(old, func(x, y *entry) int {
			return cmp.Or(x.row.UsedAt.Compare(y.row.UsedAt), cmp.Compare(x.row.Port, y.row.Port))
		})
	}
	defer func() { p.reclaimable[w.Type] = old }()
	for len(old) > 0 {
		e := old[0]
		old = old[1:]
		if ok, err := p.grab(g, w, e.slot(), ""); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// idle reports whether another node may have the entry's port: its lease has
// been over long enough, and frps does not have it either.
func (p *plan) idle(e *entry) bool {
	_, listed := p.b.online[e.slot()]
	return !listed && !p.now.Before(e.end.Add(Quarantine))
}

// lendable reports whether the proxy lends this port at all.
func (b *Book) lendable(s slot) bool {
	if s.domain != "" {
		return b.namePort(s.proto) != 0
	}
	return b.o.Pool.Contains(s.port) && !b.taken[s.port]
}

// free reports whether the port is there for the want of that name, as far as
// the book knows; only a guard makes sure. A want for a certain port
// may have it from another name of the same node, if that has no lease.
func (p *plan) free(s slot, name string, certain bool) bool {
	b := p.b
	if !b.lendable(s) || p.granted[s] {
		return false
	}
	if _, ok := b.online[s]; ok && !b.listed(s, p.node, name) {
		return false
	}
	if b.resting[s].keepsFrom(p.node, name, p.now) {
		return false
	}
	e := b.slots[s]
	return e == nil || certain && e.row.NodeID == p.node && !e.live(p.now) && !e.leaving
}

// try grabs the port unless the book knows better.
func (p *plan) try(g *grant, w peerapi.Want, port uint16, id string) (bool, error) {
	s := slot{proto: w.Type, port: port}
	if !p.free(s, w.Name, false) {
		return false, nil
	}
	return p.grab(g, w, s, id)
}

// grab makes a new entry on the port, if it can be had. Whoever has it
// reserved, without a lease, loses it. Without an id the lease is a new one.
func (p *plan) grab(g *grant, w peerapi.Want, s slot, id string) (bool, error) {
	if id == "" {
		id = newLeaseID()
	}
	e := &entry{row: tables.Reservation{NodeID: p.node, Name: w.Name, Type: s.proto, Port: s.port, Domain: s.domain, LeaseID: id}}
	if s.domain != "" {
		e.row.Port = p.b.namePort(s.proto)
	}
	other := p.b.slots[s]
	if other != nil {
		other.letGo() // of a lease that ran out
	}
	err := p.b.take(e, id)
	switch {
	case err == nil:
		p.taken = append(p.taken, e)
	case !errors.Is(err, ErrInUse):
		return false, unavailable("the reverse proxy could not hold a port", err)
	case !p.b.listed(s, p.node, w.Name):
		return false, nil
	default:
		// frps has it for this node and name, so the gate let it in: before this
		// proxy lost its tables, or before the node gave the port up.
		e.online, e.admitted = true, p.now
	}
	if other != nil {
		other.leaving = true
		p.dropped = append(p.dropped, other)
	}
	p.grant(g, e, id, p.now.Add(Hold))
	return true, nil
}

func (p *plan) grant(g *grant, e *entry, id string, end time.Time) {
	g.e, g.end, g.guarded = e, end, e.guard != nil
	g.row = e.row
	g.row.LeaseID, g.row.LeaseUntil, g.row.UsedAt = id, wall(end), wall(p.now)
	p.granted[e.slot()] = true
}

// newLeaseID is never given out twice: 128 bits of chance.
func newLeaseID() string { return strings.ToLower(rand.Text()) }
