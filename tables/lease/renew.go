package lease

import (
	"fmt"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// portProofLife is how long a dial from outside vouches for a port.
const portProofLife = 24 * time.Hour

// renewAfter is how much of a lease is used up before it is renewed: a node
// reports every 15 s, and each renewal is a line in the journal.
const renewAfter = TTL / 3

// Renewal is a lease that its holder wants to keep.
type Renewal struct {
	LeaseID    string
	PortProved bool // somebody outside the proxy dialled the port
}

// Renewed is the proxy's side of one lease.
type Renewed struct {
	LeaseID string
	TTL     time.Duration // 0: there is no such lease any more
	Online  bool          // frps has it, under a lease that the gate admitted in this frps process
	Reason  string        // why not, or why the lease is gone; in plain words
	Row     tables.Reservation
}

// Renew prolongs to TTL those of the node's leases of which a third is over, or
// whose port was dialled from outside for the first time in 24 h, all in one
// commit, and says of each how it stands and what it has left. A lease that ran out is not brought back: its port may be
// unguarded by now, and Reserve sees to that.
func (b *Book) Renew(node identity.ID, asked []Renewal) ([]Renewed, error) {
	b.change.Lock()
	defer b.change.Unlock()
	now := b.o.Now()
	end := now.Add(TTL)
	out := make([]Renewed, len(asked))
	kept := make([]*entry, len(asked))
	var c tables.Batch

	b.mu.Lock()
	for i, r := range asked {
		out[i].LeaseID = r.LeaseID
		e := b.leases[r.LeaseID]
		if out[i].Reason = b.lost(e, node, now); out[i].Reason != "" {
			continue
		}
		out[i].Online, out[i].Reason = e.standing()
		if !e.due(now) && (!r.PortProved || portProved(e.row, now)) {
			out[i].TTL, out[i].Row = e.end.Sub(now), e.row
			continue
		}
		row := e.row
		row.LeaseUntil, row.UsedAt = wall(end), wall(now)
		if r.PortProved {
			row.PortProvedAt = wall(now)
		}
		out[i].TTL, out[i].Row = TTL, row
		kept[i] = e
		c.Reservations = append(c.Reservations, row)
	}
	b.mu.Unlock()
	if len(c.Reservations) == 0 {
		return out, nil
	}
	if err := b.commit(c); err != nil {
		return nil, err
	}
	b.mu.Lock()
	for i, e := range kept {
		if e != nil {
			e.row, e.end = out[i].Row, end
		}
	}
	b.mu.Unlock()
	return out, nil
}

// due reports whether the lease is to be renewed. What the wall clock says of
// it in the table has to keep up as well.
func (e *entry) due(now time.Time) bool {
	return min(e.end.Sub(now), e.row.LeaseUntil.Sub(now.Round(0))) < TTL-renewAfter
}

// lost says why a node has no such lease; empty: it has.
func (b *Book) lost(e *entry, node identity.ID, now time.Time) string {
	switch {
	case e == nil || e.row.NodeID != node:
		return "the reverse proxy knows no such lease"
	case !e.live(now):
		return "the lease ran out"
	case !b.lendable(e.slot()):
		return fmt.Sprintf("%s is no longer lent by the reverse proxy", e.slot())
	}
	return ""
}

// standing says whether frps has the port as it should, and why not.
func (e *entry) standing() (online bool, reason string) {
	switch {
	case e.admitted.IsZero():
		return false, "frpc has not opened it since frps was started"
	case !e.online:
		return false, "frps does not list it as online"
	}
	return true, ""
}

// Release ends the node's leases; the reservations stay. Leases that it does
// not hold are passed over.
func (b *Book) Release(node identity.ID, leaseIDs []string) error {
	b.change.Lock()
	defer b.change.Unlock()
	now := b.o.Now()
	var gone []*entry
	var c tables.Batch
	b.mu.Lock()
	for _, id := range leaseIDs {
		e := b.leases[id]
		if e == nil || e.row.NodeID != node {
			continue
		}
		row := e.row
		row.LeaseID, row.LeaseUntil = "", time.Time{}
		gone, c.Reservations = append(gone, e), append(c.Reservations, row)
	}
	b.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	if err := b.commit(c); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range gone {
		delete(b.leases, e.row.LeaseID)
		e.row = c.Reservations[i]
		e.admitted = time.Time{}
		if e.live(now) {
			e.end = now
		}
		e.letGo()
	}
	return nil
}

// Revoke ends the node's leases and drops its reservations. What frps has open
// for it is a squatter from now on.
func (b *Book) Revoke(node identity.ID) error {
	b.change.Lock()
	defer b.change.Unlock()
	now := b.o.Now()
	var c tables.Batch
	b.mu.Lock()
	for _, e := range b.nodes[node] {
		e.leaving = true
		c.DropReservations = append(c.DropReservations, e.row.Key())
	}
	b.mu.Unlock()
	if len(c.DropReservations) == 0 {
		return nil
	}
	err := b.o.Commit(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.nodes[node] {
		e.leaving = false
		if err == nil {
			b.remove(e, now, false)
		}
	}
	if err != nil {
		return fmt.Errorf("writing the reservations: %w", err)
	}
	return nil
}

func portProved(r tables.Reservation, now time.Time) bool {
	return !r.PortProvedAt.IsZero() && now.Round(0).Sub(r.PortProvedAt).Abs() < portProofLife
}
