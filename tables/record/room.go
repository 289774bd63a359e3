package record

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"p2prc/tables/identity"
)

// Limits bound a set. Identities cost nothing, so what a newcomer may take is
// bounded by kind, by neighbourhood and in all; what is known stays. What this
// node has verified (Set.Trust) keeps the difference between Records and
// Unverified for itself. Zero fields mean the default.
type Limits struct {
	Records    int // in all; 100,000
	Unverified int // that no trusted proxy and not this node vouches for; 50,000
	Owner      int // of one node; 4,096
	Sponsored  int // claims of the leases of one reverse proxy; 20,000
	Proxies    int // unverified reverse proxies; 4,096
	Tombstones int // unverified deletions, and downs: this many of each; 10,000
	Block      int // unverified reverse proxies with addresses in one /24; 64
}

func (l Limits) withDefaults() Limits {
	orElse := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	orElse(&l.Records, 100_000)
	orElse(&l.Unverified, 50_000)
	orElse(&l.Owner, 4096)
	orElse(&l.Sponsored, 20_000)
	orElse(&l.Proxies, 4096)
	orElse(&l.Tombstones, 10_000)
	orElse(&l.Block, 64)
	return l
}

// maxShunned bounds the list of nodes that are kept out.
const maxShunned = 16_384

// room counts what a set holds.
type room struct {
	limits   Limits
	self     identity.ID // what it says always finds room
	all      int
	loose    map[Kind]int // of sponsors that are not trusted
	looseAll int
	sponsors map[identity.ID]*sponsor
	owners   map[identity.ID]int
	blocks   map[netip.Prefix]int // proxies
	shunned  map[identity.ID]time.Time
	trusts   int // sponsors that came to be trusted
}

// sponsor is whoever a record's place is due to: for a claim the reverse proxy
// that signed its lease, else the owner.
type sponsor struct {
	id      identity.ID
	trusted bool
	before  bool // it was trusted once
	counts  map[Kind]int
}

func sponsorOf(r *Record) identity.ID {
	if c, ok := r.Body.(*Claim); ok {
		return c.lease.Proxy
	}
	return r.Owner
}

func newRoom(l Limits) room {
	return room{
		limits: l.withDefaults(), loose: map[Kind]int{}, sponsors: map[identity.ID]*sponsor{},
		owners: map[identity.ID]int{}, blocks: map[netip.Prefix]int{}, shunned: map[identity.ID]time.Time{},
	}
}

// admit says why there is no room for a record. What replaces another takes
// its place.
func (m *room) admit(r *Record, old *entry, now time.Time) error {
	by := sponsorOf(r)
	if m.shuns(r.Owner, now) || m.shuns(by, now) {
		return ErrShunned
	}
	if old != nil || (r.Owner == m.self && m.self != "") {
		return nil
	}
	sp := m.sponsors[by]
	if m.urgent(r, sp) && m.all < m.limits.Records+m.limits.Records/4 {
		return nil
	}
	if sp != nil && sp.trusted {
		// Whoever owns no proxy that is trusted may still not take all its room.
		if m.all >= m.limits.Records {
			return fmt.Errorf("%w: %d records are known", ErrQuota, m.all)
		}
		return m.admitEach(r, sp)
	}
	if m.all >= m.limits.Records || m.looseAll >= m.limits.Unverified {
		return fmt.Errorf("%w: %d records are known, %d of them not verified", ErrQuota, m.all, m.looseAll)
	}
	if err := m.admitEach(r, sp); err != nil {
		return err
	}
	kind, most := countedAs(r), m.limits.Unverified
	switch kind {
	case KindProxy, KindHeartbeat:
		most = m.limits.Proxies
	case KindDown, KindGone:
		most = m.limits.Tombstones
	case KindClaim, KindDomain:
	}
	if m.loose[kind] >= most {
		return fmt.Errorf("%w: a %s, and %d are known that are not verified", ErrQuota, kind, m.loose[kind])
	}
	if p, ok := r.Body.(*Proxy); ok && m.blocks[blockOf(p.Address)] >= m.limits.Block {
		return fmt.Errorf("%w: %s has enough reverse proxies", ErrQuota, blockOf(p.Address))
	}
	return nil
}

// urgent is what must find room even when there is none for newcomers: that a
// known reverse proxy lives, that a known node goes, and that a verified proxy
// is there at all. Each is one record of an owner.
func (m *room) urgent(r *Record, sp *sponsor) bool {
	switch r.Kind() {
	case KindHeartbeat:
		return sp != nil && (sp.trusted || sp.counts[KindProxy] > 0)
	case KindProxy:
		return sp != nil && sp.trusted
	case KindGone:
		return r.Subject == Everything && m.owners[r.Owner] > 0
	case KindClaim, KindDomain, KindDown:
	}
	return false
}

// countedAs is the kind that a record's room is counted by: a domain is a claim
// like any other.
func countedAs(r *Record) Kind {
	if r.Kind() == KindDomain {
		return KindClaim
	}
	return r.Kind()
}

func (m *room) admitEach(r *Record, sp *sponsor) error {
	if n := m.owners[r.Owner]; n >= m.limits.Owner {
		return fmt.Errorf("%w: node %s has %d records", ErrQuota, r.Owner.Short(), n)
	}
	if sp != nil && countedAs(r) == KindClaim && sp.counts[KindClaim] >= m.limits.Sponsored {
		return fmt.Errorf("%w: its reverse proxy has %d claims", ErrQuota, sp.counts[KindClaim])
	}
	return nil
}

func (m *room) shuns(id identity.ID, now time.Time) bool {
	until, ok := m.shunned[id]
	return ok && now.Before(until)
}

func (m *room) sponsor(id identity.ID) *sponsor {
	sp := m.sponsors[id]
	if sp == nil {
		id = identity.ID(strings.Clone(string(id))) // it outlives the bytes of the record
		sp = &sponsor{id: id, counts: map[Kind]int{}}
		m.sponsors[id] = sp
	}
	return sp
}

func (m *room) add(e *entry)    { m.move(e, 1) }
func (m *room) remove(e *entry) { m.move(e, -1) }

func (m *room) move(e *entry, n int) {
	m.all += n
	sp := e.sponsor
	sp.counts[e.counted] += n
	if !sp.trusted {
		m.looseAll += n
		m.loose[e.counted] += n
	}
	if sp.counts[e.counted] == 0 {
		delete(sp.counts, e.counted)
	}
	if len(sp.counts) == 0 && !sp.trusted {
		delete(m.sponsors, sp.id)
	}
	if m.owners[e.Owner] += n; m.owners[e.Owner] == 0 {
		delete(m.owners, e.Owner)
	} else if n > 0 && m.owners[e.Owner] == 1 {
		// The map keeps the key that came first, and with it a record's bytes.
		delete(m.owners, e.Owner)
		m.owners[identity.ID(strings.Clone(string(e.Owner)))] = 1
	}
	if p, ok := e.Body.(*Proxy); ok {
		b := blockOf(p.Address)
		if m.blocks[b] += n; m.blocks[b] == 0 {
			delete(m.blocks, b)
		}
	}
}

func (m *room) trust(id identity.ID, yes bool) {
	sp := m.sponsor(id)
	if sp.trusted != yes {
		sp.trusted = yes
		sign := 1
		if yes {
			sign = -1
		}
		if yes && !sp.before { // one that comes and goes is no news
			sp.before = true
			m.trusts++
		}
		for k, n := range sp.counts {
			m.loose[k] += sign * n
			m.looseAll += sign * n
		}
	}
	if len(sp.counts) == 0 && !yes {
		delete(m.sponsors, id)
	}
}

func (m *room) shun(id identity.ID, until time.Time) {
	if _, known := m.shunned[id]; !known && len(m.shunned) >= maxShunned {
		// The one that ends first makes room; it is a matter of hours for all.
		first := id
		for other, t := range m.shunned {
			if first == id || t.Before(m.shunned[first]) {
				first = other
			}
		}
		delete(m.shunned, first)
	}
	m.shunned[id] = until
}

func (m *room) expire(now time.Time) {
	for id, until := range m.shunned {
		if !now.Before(until) {
			delete(m.shunned, id)
		}
	}
}
