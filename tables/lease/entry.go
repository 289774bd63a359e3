package lease

import (
	"fmt"
	"io"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// slot is what is had by one mapping alone: a port of the proxy, or a domain.
// TCP and UDP ports are apart, in frps too, as are HTTP and HTTPS domains.
type slot struct {
	proto  tables.Protocol
	port   uint16 // 0 with a domain: all of them share one
	domain string
}

func (s slot) String() string {
	if s.domain != "" {
		return fmt.Sprintf("%s domain %s", s.proto, s.domain)
	}
	return fmt.Sprintf("%s port %d", s.proto, s.port)
}

func slotOf(proto tables.Protocol, port uint16, domain string) slot {
	if domain != "" {
		port = 0
	}
	return slot{proto, port, domain}
}

// entry is one reservation, with its lease while there is one.
type entry struct {
	row tables.Reservation // as committed

	// end of the lease, past or ahead, with a monotonic reading. It may lie
	// behind row.LeaseUntil (a wall clock that was set) or after it (renewed by
	// the gate, in memory only).
	end time.Time

	guard    io.Closer // nil: let go, or never taken
	admitted time.Time // the gate's yes in this frps process; zero: none
	online   bool      // frps has it, as far as is known
	leaving  bool      // a change that ends this reservation is being committed
}

func (e *entry) slot() slot              { return slotOf(e.row.Type, e.row.Port, e.row.Domain) }
func (e *entry) live(now time.Time) bool { return now.Before(e.end) }

// letGo closes the guard. A listener that cannot be closed is gone all the
// same, so there is nothing to do about an error.
func (e *entry) letGo() {
	if e.guard != nil {
		_ = e.guard.Close()
		e.guard = nil
	}
}

// rest keeps a port that was given up out of circulation.
type rest struct {
	node  identity.ID
	name  string
	until time.Time // before it, only node gets the port
	shun  time.Time // before it, node does not get it under name
}

// keepsFrom reports whether the port is not for that node and name now.
func (r rest) keepsFrom(node identity.ID, name string, now time.Time) bool {
	if r.node != node {
		return now.Before(r.until)
	}
	return r.name == name && now.Before(r.shun)
}

func (b *Book) add(e *entry) {
	names := b.nodes[e.row.NodeID]
	if names == nil {
		names = make(map[string]*entry)
		b.nodes[e.row.NodeID] = names
	}
	names[e.row.Name] = e
	b.slots[e.slot()] = e
	if e.row.LeaseID != "" {
		b.leases[e.row.LeaseID] = e
	}
}

// remove forgets a reservation; its port rests.
func (b *Book) remove(e *entry, now time.Time, stolen bool) {
	e.letGo()
	node, name := e.row.NodeID, e.row.Name
	if names := b.nodes[node]; names[name] == e {
		delete(names, name)
		if len(names) == 0 {
			delete(b.nodes, node)
		}
	}
	delete(b.slots, e.slot())
	delete(b.leases, e.row.LeaseID)
	r := rest{node: node, name: name, until: now.Add(Quarantine)}
	if stolen {
		r.shun = now.Add(shun)
	}
	b.resting[e.slot()] = r
}

// take puts a guard on the entry's port. The port is then certainly not
// frps's, whatever was known before.
func (b *Book) take(e *entry, id string) error {
	if e.row.Domain != "" {
		return b.takeDomain(e)
	}
	g, err := b.o.Guard(e.row.Type, e.row.Port, id, b.guardKey(id))
	if err != nil {
		return fmt.Errorf("holding %s: %w", e.slot(), err)
	}
	e.guard, e.admitted, e.online = g, time.Time{}, false
	return nil
}

// justAdmitted reports whether the gate said yes so shortly before t that frps
// may not show it yet.
func (e *entry) justAdmitted(t time.Time) bool {
	return !e.admitted.IsZero() && e.admitted.Add(settle).After(t)
}

// listed reports whether frps listed the port for this node and name.
func (b *Book) listed(s slot, node identity.ID, name string) bool {
	o, ok := b.online[s]
	return ok && o.Node == node && o.Name == name
}

// unsettled reports whether frps may have the entry's port without the last
// listing showing it.
func (b *Book) unsettled(e *entry) bool {
	return b.observed.IsZero() || e.justAdmitted(b.observed)
}

// wall is t as it is written into a table.
func wall(t time.Time) time.Time { return t.Round(0).UTC() }
