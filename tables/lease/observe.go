package lease

import (
	"errors"
	"fmt"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// Online is a proxy that frps's admin API lists as online.
type Online struct {
	Node identity.ID // empty, or not a node's, for a proxy that p2prc did not name
	Name string
	Type tables.Protocol
	Port uint16

	Domain string // of HTTP and HTTPS; Port counts for nothing then
}

func (o Online) slot() slot { return slotOf(o.Type, o.Port, o.Domain) }

// Finding is something that a look at frps brought to light.
type Finding struct {
	Kind FindingKind
	Node identity.ID
	Name string
	Type tables.Protocol
	Port uint16
	Err  error // of Unguarded
}

// FindingKind says what a Finding is.
type FindingKind string

// What can be found. Squatter and Unguarded are found again for as long as
// they last, the others once.
const (
	Squatter  FindingKind = "squatter"  // frps lists a proxy that has no right to its port
	Unguarded FindingKind = "unguarded" // a live lease's port is held by nobody of ours; ErrInUse: it was stolen
	Expired   FindingKind = "expired"   // a lease ran out
	Forgotten FindingKind = "forgotten" // a reservation was not used for so long that it is gone
)

// Observe compares the book with what frps listed when it was asked: ports of
// live leases that frps does not have get their guard back, leases run out, and
// reservations that were not used for long are dropped. Everything but the
// durable part is done even when the error is not nil.
func (b *Book) Observe(asked time.Time, online []Online) ([]Finding, error) {
	b.change.Lock()
	defer b.change.Unlock()
	now := b.o.Now()
	b.mu.Lock()
	if asked.Before(b.observed) { // overtaken by a later look, or frps is gone since
		b.mu.Unlock()
		return nil, nil
	}
	found := b.match(asked, online)
	b.mu.Unlock()
	found = append(found, b.guardAll(now)...)
	b.mu.Lock()
	over, old := b.aged(now)
	b.mu.Unlock()
	if len(over)+len(old) == 0 {
		return found, nil
	}

	var c tables.Batch
	for _, e := range over {
		row := e.row
		row.LeaseUntil = time.Time{}
		c.Reservations = append(c.Reservations, row)
	}
	for _, e := range old {
		c.DropReservations = append(c.DropReservations, e.row.Key())
	}
	err := b.o.Commit(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range old {
		e.leaving = false
	}
	if err != nil {
		return found, fmt.Errorf("writing the reservations: %w", err)
	}
	for i, e := range over {
		e.row = c.Reservations[i]
		found = append(found, e.finding(Expired, nil))
	}
	for _, e := range old {
		b.remove(e, now, false)
		found = append(found, e.finding(Forgotten, nil))
	}
	return found, nil
}

// match takes over what frps listed, and finds what has no right to be there.
func (b *Book) match(asked time.Time, online []Online) []Finding {
	var found []Finding
	first := b.observed.IsZero()
	b.observed = asked
	b.online = make(map[slot]Online, len(online))
	for _, o := range online {
		s := o.slot()
		b.online[s] = o
		if e := b.nodes[o.Node][o.Name]; e != nil && e.slot() == s {
			continue
		}
		if r := b.resting[s]; r.node == o.Node && r.name == o.Name && asked.Before(r.until) {
			continue // it was told to leave a moment ago
		}
		found = append(found, Finding{Kind: Squatter, Node: o.Node, Name: o.Name, Type: o.Type, Port: o.Port})
	}
	for _, e := range b.slots {
		switch listed := b.listed(e.slot(), e.row.NodeID, e.row.Name); {
		case listed && e.guard == nil:
			e.online = true
			if first { // the gate of the process before this one let it in: no gate, no proxy
				e.admitted = asked
			}
		case !e.justAdmitted(asked):
			e.online = false
		}
	}
	return found
}

// guardAll sees to it that the port of a live lease is held by frps or a
// guard, and that no guard outlives its lease. The gate may come between two.
func (b *Book) guardAll(now time.Time) []Finding {
	var found []Finding
	for _, e := range b.slots {
		b.mu.Lock()
		switch {
		case !e.live(now):
			e.letGo()
		case e.row.Domain == "" && e.guard == nil && !e.online && !b.unsettled(e) && b.lendable(e.slot()):
			if err := b.take(e, e.row.LeaseID); err != nil {
				found = append(found, e.finding(Unguarded, err))
			}
		}
		b.mu.Unlock()
	}
	return found
}

// aged collects the leases that ran out since the last look, and the
// reservations that nobody came back for.
func (b *Book) aged(now time.Time) (over, old []*entry) {
	for _, e := range b.slots {
		if e.live(now) {
			continue
		}
		if !e.online && now.Round(0).Sub(e.row.UsedAt) > b.keep {
			e.leaving = true
			old = append(old, e)
		} else if !e.row.LeaseUntil.IsZero() {
			over = append(over, e)
		}
	}
	for s, r := range b.resting {
		if !now.Before(r.until) && !now.Before(r.shun) {
			delete(b.resting, s)
		}
	}
	for node := range b.moved {
		if b.nodes[node] == nil {
			delete(b.moved, node)
		}
	}
	return over, old
}

// Seen takes note of proxies that frps says are online, without a word about
// the others: a report need not wait for a whole listing.
func (b *Book) Seen(online []Online) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range online {
		e := b.nodes[o.Node][o.Name]
		if e != nil && e.slot() == o.slot() && e.guard == nil {
			e.online = true
		}
	}
}

// FRPSGone says that the frps process ended, or that none is running. Call it
// before the next one is started: nothing is admitted any more, and the ports of
// live leases get their guards back until their nodes log in again.
func (b *Book) FRPSGone() []Finding {
	b.change.Lock()
	defer b.change.Unlock()
	now := b.o.Now()
	b.mu.Lock()
	b.online, b.observed = nil, now
	for _, e := range b.slots {
		e.online, e.admitted = false, time.Time{}
	}
	b.mu.Unlock()
	return b.guardAll(now)
}

func (e *entry) finding(kind FindingKind, err error) Finding {
	return Finding{Kind: kind, Node: e.row.NodeID, Name: e.row.Name, Type: e.row.Type, Port: e.row.Port, Err: err}
}

// Stolen reports whether somebody else holds a port that a live lease is on.
func (f Finding) Stolen() bool { return f.Kind == Unguarded && errors.Is(f.Err, ErrInUse) }
