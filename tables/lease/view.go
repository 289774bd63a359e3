package lease

import (
	"cmp"
	"slices"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// Status is one reservation and how its lease stands.
type Status struct {
	tables.Reservation
	Left    time.Duration // of the lease; 0: there is none
	Guarded bool          // p2prc holds the port
	Online  bool          // frps has it, under a lease that the gate admitted in this frps process
	Reason  string        // why it is not online
}

// Get is the reservation of one node and name.
func (b *Book) Get(node identity.ID, name string) (Status, bool) {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[node][name]
	if e == nil {
		return Status{}, false
	}
	return e.status(now), true
}

// Of is every reservation of one node, sorted by name.
func (b *Book) Of(node identity.ID) []Status {
	now := b.o.Now()
	b.mu.Lock()
	of := make([]Status, 0, len(b.nodes[node]))
	for _, e := range b.nodes[node] {
		of = append(of, e.status(now))
	}
	b.mu.Unlock()
	slices.SortFunc(of, func(x, y Status) int { return cmp.Compare(x.Name, y.Name) })
	return of
}

func (e *entry) status(now time.Time) Status {
	s := Status{Reservation: e.row, Left: max(0, e.end.Sub(now)), Guarded: e.guard != nil}
	s.Online, s.Reason = e.standing()
	return s
}

// MaxPorts is the most ports one node can have.
func (b *Book) MaxPorts() int { return b.maxPorts }

// Close lets go of every guard, because the process ends. The reservations are
// on disk; the book is not used any more.
func (b *Book) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.slots {
		e.letGo()
	}
}

// Live is how many leases have not run out.
func (b *Book) Live() int {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.slots {
		if e.live(now) {
			n++
		}
	}
	return n
}

// Free is how many ports of the pool could be had now: neither leased nor held
// by frps, in TCP or UDP. A port that is only reserved counts, since it would be
// reclaimed rather than a node be refused.
func (b *Book) Free() int {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	used := make(map[uint16]bool)
	for p := range b.taken {
		used[p] = b.o.Pool.Contains(p)
	}
	for s, e := range b.slots {
		if now.Before(e.end.Add(Quarantine)) {
			used[s.port] = b.o.Pool.Contains(s.port)
		}
	}
	for s := range b.online {
		used[s.port] = b.o.Pool.Contains(s.port)
	}
	n := b.o.Pool.Len()
	for _, in := range used {
		if in {
			n--
		}
	}
	return n
}
