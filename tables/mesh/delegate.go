package mesh

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
)

// delegate is what memberlist calls. Most of it is called with memberlist's own
// lock held, so nothing here waits or calls it back.
type delegate struct {
	m *Mesh
	t *transport // of this run of Serve: memberlist's timers outlive it
}

// minShare is what each record is taken to need of a packet beyond its bytes.
// memberlist counts the messages of a packet in one byte, and does not look
// whether they fit (0.7.0, sendMsg).
const minShare = 64

func (delegate) NodeMeta(int) []byte { return nil }

// GetBroadcasts fills what is left of a packet: records first, beats where one
// goes out anyway, and in rounds.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	overhead = max(overhead, minShare)
	all := d.m.records.GetBroadcasts(overhead, limit)
	for _, b := range all {
		limit -= overhead + len(b)
	}
	if len(all) == 0 && d.m.beats.NumQueued() < manyBeats && !d.m.rounds.open(time.Now()) {
		return nil
	}
	return append(all, d.m.beats.GetBroadcasts(overhead, limit)...)
}

func (d delegate) NotifyMsg(b []byte) {
	if len(b) > 1 {
		d.m.deliver(b[0], bytes.Clone(b[1:]))
	}
}

// deliver hands a record in, and passes it on if it was news.
func (m *Mesh) deliver(kind byte, b []byte) {
	if len(b) == 0 || len(b) > MaxRecord || m.seen.has(b) {
		return
	}
	raw, ok := b, true
	if kind == kindShort {
		raw, ok = m.o.Lengthen(b)
	}
	if !ok || !m.o.Deliver(raw) {
		return
	}
	m.send(kind, b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.strangers) > 0 {
		m.look() // it may be the record of one of them
	}
}

// LocalState is all that a push/pull carries beside memberlist's own: who this
// is, and the digests.
func (d delegate) LocalState(bool) []byte {
	return append([]byte(d.m.o.Key.ID()), d.m.o.Digest()...)
}

func (d delegate) MergeRemoteState(state []byte, _ bool) {
	own := d.m.o.Key.ID()
	if len(state) < len(own) {
		return
	}
	peer, err := identity.ParseID(string(state[:len(own)]))
	if err != nil || peer == own || bytes.Equal(state[len(own):], d.m.o.Digest()) {
		return
	}
	// Not all who differ are members yet: who was taken for dead has to object
	// first. The worst that a lie does here is one sync with somebody else.
	if !slices.ContainsFunc(d.m.o.Known(), func(s Seed) bool { return s.ID == peer }) {
		return
	}
	d.m.notify(func() { d.m.o.Differ(peer) })
}

// NotifyAlive keeps out whom nobody vouches for.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	s, err := seedOf(n.Name, n.Addr, n.Port)
	if err != nil {
		return err
	}
	if s.ID == d.m.o.Key.ID() {
		if s.At != d.m.o.Address {
			return fmt.Errorf("it is said to be at %s", s.At)
		}
		return nil
	}
	if !d.m.o.Vouched(s.ID, s.At) {
		d.m.refused(s)
		return fmt.Errorf("no record vouches for %s", s)
	}
	return nil
}

func (d delegate) NotifyJoin(n *memberlist.Node) { d.happened(Joined, n) }

func (d delegate) NotifyLeave(n *memberlist.Node) { d.happened(Left, n) }

func (delegate) NotifyUpdate(*memberlist.Node) {}

func (d delegate) happened(kind EventKind, n *memberlist.Node) {
	s, err := seedOf(n.Name, n.Addr, n.Port)
	if err != nil || s.ID == d.m.o.Key.ID() {
		return
	}
	if d.count(kind, s) {
		d.m.notify(func() { d.m.o.Event(Event{kind, s}) })
		d.m.look()
	}
}

// lost tells of a member that is out of this node's reach.
func (m *Mesh) lost(s Seed) { m.notify(func() { m.o.Event(Event{Lost, s}) }) }

// count reports whether it happened in a mesh that this node is still part of.
func (d delegate) count(kind EventKind, s Seed) bool {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.transport != d.t {
		return false
	}
	if kind == Joined {
		d.m.members[s.ID] = s.At
		return true
	}
	delete(d.m.members, s.ID)
	d.t.hangUp(s.ID) // whatever TCP still hopes for
	return true
}

// seedOf reads what memberlist has from others.
func seedOf(name string, addr net.IP, port uint16) (Seed, error) {
	id, err := identity.ParseID(name)
	if err != nil {
		return Seed{}, err
	}
	a, ok := netip.AddrFromSlice(addr)
	if !ok || !a.Unmap().Is4() || port == 0 {
		return Seed{}, fmt.Errorf("member %s has no IPv4 address", id.Short())
	}
	return Seed{id, netip.AddrPortFrom(a.Unmap(), port)}, nil
}
