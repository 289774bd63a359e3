package lease

import (
	"fmt"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// Admit is the gate's answer to frps, which is about to open the port: nil lets
// it. Only the node that holds the lease may, or that has the reservation still;
// then the lease is renewed. The guard is let go before Admit returns, and
// nothing is waited for but other uses of memory.
//
// A renewal at the gate is in memory only, for Hold. It need not be durable,
// because nobody is told of it: the node counts its lease from Reserve and Renew
// alone. After a crash of this process the lease may be over again while frps
// listens, but the reservation was committed long ago, and it is not reclaimed
// while frps has the port.
//
// frpc shows the error to the user (0.61-0.70.1: as the proxy's err).
func (b *Book) Admit(node identity.ID, name string, proto tables.Protocol, port uint16, leaseID string) error {
	return b.admit(node, name, slot{proto: proto, port: port}, leaseID)
}

// AdmitDomain is Admit for a domain.
func (b *Book) AdmitDomain(node identity.ID, name string, proto tables.Protocol, domain, leaseID string) error {
	return b.admit(node, name, slot{proto: proto, domain: domain}, leaseID)
}

func (b *Book) admit(node identity.ID, name string, asked slot, leaseID string) error {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[node][name]
	switch {
	case e == nil:
		return fmt.Errorf("p2prc: no port is reserved for %s here", name)
	case e.slot() != asked:
		return fmt.Errorf("p2prc: %s has %s here, not %s", name, e.slot(), asked)
	case e.row.LeaseID == "":
		return fmt.Errorf("p2prc: the lease of %s was given back", name)
	case e.row.LeaseID != leaseID:
		return fmt.Errorf("p2prc: %s has another lease by now", name)
	case e.leaving:
		return fmt.Errorf("p2prc: %s is being taken from %s", e.slot(), name)
	case !b.lendable(e.slot()) && e.row.Domain != "":
		return fmt.Errorf("p2prc: %s is no longer lent here", e.slot())
	case !b.lendable(e.slot()):
		return fmt.Errorf("p2prc: %s is no longer lent here, only %s", e.slot(), b.o.Pool)
	}
	if !e.live(now) {
		e.end = now.Add(Hold)
	}
	e.admitted = now
	e.letGo()
	return nil
}

// Closed takes note that frps closed a mapping: whether it is still there is
// for the next Observe or Seen to say. Nothing is freed. When frpc reloads,
// frps tells of the old proxy's end after it asked for the new one of the same
// name (0.65 and 0.70.1: same millisecond, same run ID).
func (b *Book) Closed(node identity.ID, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.nodes[node][name]; e != nil {
		e.online = false
	}
}
