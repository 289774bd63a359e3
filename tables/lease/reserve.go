package lease

import (
	"fmt"
	"slices"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// What one request may carry.
const (
	maxRequestID  = 64
	maxCandidates = 64
)

// movedKept is how many request IDs are remembered for a node: it has at most
// a few requests under way, and only those that gave up a port must not be
// done twice.
const movedKept = 8

// Reserve grants every want, in order, or none. What a node and name have
// already is theirs again: the same port under the same lease ID. The answer
// is durable, and each port is held by a guard or by frps for this node. A
// refusal is a *peerapi.Refusal.
func (b *Book) Reserve(node identity.ID, req peerapi.ReserveRequest) ([]peerapi.Lease, error) {
	if err := b.check(req); err != nil {
		return nil, err
	}
	b.change.Lock()
	defer b.change.Unlock()
	p := &plan{
		b: b, now: b.o.Now(), node: node, req: req,
		repeated: slices.Contains(b.moved[node], req.ID),
		signed:   b.signedSlots(node, req),
		granted:  make(map[slot]bool), searched: make(map[tables.Protocol]bool),
		reclaimable: make(map[tables.Protocol][]*entry),
	}
	err := p.place()
	if err == nil {
		err = b.commit(p.batch())
	}
	b.mu.Lock()
	if err != nil {
		p.undo()
	} else {
		p.apply()
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return p.leases(), nil
}

// check refuses what no state of the book could grant.
func (b *Book) check(req peerapi.ReserveRequest) error {
	switch {
	case req.ID == "" || len(req.ID) > maxRequestID:
		return refuse(peerapi.CodeBadRequest, "a request needs an ID of 1 to %d characters", maxRequestID)
	case len(req.Wants) == 0:
		return refuse(peerapi.CodeBadRequest, "the request asks for no port")
	case len(req.Wants) > b.maxPorts:
		return refuse(peerapi.CodeQuota, "%d ports asked for, a node may have %d on this reverse proxy", len(req.Wants), b.maxPorts)
	}
	seen := make(map[string]bool, len(req.Wants))
	for _, w := range req.Wants {
		if err := tables.CheckName(w.Name); err != nil {
			return refuse(peerapi.CodeBadRequest, "%s", err)
		}
		switch {
		case seen[w.Name]:
			return refuse(peerapi.CodeBadRequest, "%s is asked for twice", w.Name)
		case !w.Type.Known():
			return refuse(peerapi.CodeBadRequest, "%s: %q is not a protocol", w.Name, w.Type)
		case w.Type.ByName() && (w.Port != 0 || w.Another || len(w.Candidates) > 0):
			return refuse(peerapi.CodeBadRequest, "%s: a domain comes with the port that all domains share", w.Name)
		case len(w.Candidates) > maxCandidates:
			return refuse(peerapi.CodeBadRequest, "%s: %d candidates, at most %d are looked at", w.Name, len(w.Candidates), maxCandidates)
		}
		if err := tables.CheckDomainOf(w.Type, w.Domain); err != nil {
			return refuse(peerapi.CodeBadRequest, "%s: %s", w.Name, err)
		}
		seen[w.Name] = true
	}
	return nil
}

// signedSlots are the leases that this proxy signed for names it has no
// reservation of, so it lost its tables. What was not signed by this
// proxy for this node and name counts for nothing, and costs the node nothing.
func (b *Book) signedSlots(node identity.ID, req peerapi.ReserveRequest) map[string]Signed {
	known := b.nodes[node]
	signed := make(map[string]Signed)
	for _, w := range req.Wants {
		if known[w.Name] != nil || len(w.Lease) == 0 {
			continue
		}
		s, err := ParseSigned(w.Lease, b.o.Verify)
		if err == nil && s.Proxy == b.o.Proxy && s.Node == node && s.Name == w.Name && s.Type == w.Type {
			signed[w.Name] = s
		}
	}
	return signed
}

// plan is a Reserve before it is committed.
type plan struct {
	b        *Book
	now      time.Time
	node     identity.ID
	req      peerapi.ReserveRequest
	repeated bool // done before: ports were given up then
	signed   map[string]Signed

	grants      []grant                      // one per want, in order
	granted     map[slot]bool                // by this plan
	taken       []*entry                     // whose guards it took
	dropped     []*entry                     // reservations of other names that make room
	searched    map[tables.Protocol]bool     // and no never-used port was left
	reclaimable map[tables.Protocol][]*entry // oldest first, once it came to that
}

// grant is what one want gets.
type grant struct {
	e       *entry // in the book already, or new
	old     *entry // the reservation that e replaces, on another port
	stolen  bool   // why it is replaced: somebody else has its port
	row     tables.Reservation
	end     time.Time
	guarded bool
}

// batch is the plan as it is committed.
func (p *plan) batch() (c tables.Batch) {
	for _, g := range p.grants {
		c.Reservations = append(c.Reservations, g.row)
	}
	for _, e := range p.dropped {
		c.DropReservations = append(c.DropReservations, e.row.Key())
	}
	return c
}

// apply makes the plan the book.
func (p *plan) apply() {
	b, gaveUp := p.b, false
	for _, e := range p.dropped {
		b.remove(e, p.now, false)
	}
	for _, g := range p.grants {
		if g.old != nil {
			b.remove(g.old, p.now, g.stolen)
			gaveUp = true
		}
	}
	for _, g := range p.grants {
		g.e.row, g.e.end = g.row, g.end
		b.add(g.e)
	}
	if gaveUp && !p.repeated {
		ids := append(b.moved[p.node], p.req.ID)
		b.moved[p.node] = ids[max(0, len(ids)-movedKept):]
	}
}

// undo lets go of what the plan took; the book is as it was.
func (p *plan) undo() {
	for _, e := range p.taken {
		e.letGo()
	}
	for _, e := range p.dropped {
		e.leaving = false
	}
	for _, g := range p.grants {
		if g.old != nil {
			g.old.leaving = false
		}
	}
}

// leases is the answer. Signing a thousand takes 25 ms, so mu is not held.
func (p *plan) leases() []peerapi.Lease {
	out := make([]peerapi.Lease, len(p.grants))
	for i, g := range p.grants {
		r := g.row
		signed := Signed{
			Proxy: p.b.o.Proxy, Node: r.NodeID, Name: r.Name, Type: r.Type, Port: r.Port,
			LeaseID: r.LeaseID, Until: wall(p.now.Add(signedLife)), Domain: r.Domain,
		}
		out[i] = peerapi.Lease{
			Name: r.Name, Type: r.Type, Port: r.Port, Domain: r.Domain, ID: r.LeaseID,
			TTL:      peerapi.Milliseconds(g.end.Sub(p.now).Milliseconds()),
			GuardKey: p.b.guardKey(r.LeaseID),
			Guarded:  g.guarded,
			Proved:   portProved(r, p.now),
			Signed:   signed.Sign(p.b.o.Sign),
		}
	}
	return out
}

func refuse(code peerapi.Code, format string, args ...any) error {
	return &peerapi.Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

// commit makes a change durable for a node that waits for it.
func (b *Book) commit(c tables.Batch) error {
	if err := b.o.Commit(c); err != nil {
		return unavailable("the reverse proxy could not write its reservations", err)
	}
	return nil
}

// unavailable is a refusal for the node with its cause for the proxy's own log.
func unavailable(message string, cause error) error {
	return fmt.Errorf("%w: %w", &peerapi.Refusal{Code: peerapi.CodeUnavailable, Message: message + "; try again"}, cause)
}
