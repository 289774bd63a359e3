package record

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"p2prc/tables/identity"
)

// Buckets is how many parts a set is compared in.
const Buckets = 256

// Options describes a Set. The zero value knows nobody as itself.
type Options struct {
	Self   *Signer // own records are never refused, and raise its serials
	Limits Limits

	// Verify checks the signatures of a record: Record.Verify when nil.
	Verify func(*Record) error
}

// Set is all records that a node knows. It is safe for many goroutines.
type Set struct {
	o         Options
	self      identity.ID
	verifying chan struct{} // a place for each processor that verifies

	mu       sync.RWMutex // guards what follows
	buckets  [Buckets]bucket
	total    sum // of all buckets
	owners   map[identity.ID]*owner
	room     room
	soonest  time.Time              // no record but heartbeats ends before; zero: none is known to
	beating  map[identity.ID]*owner // whose heartbeats are known
	proxies  map[Key]*entry         // reverse proxies and heartbeats, a few among many
	watchers map[*Watch]struct{}
	forged   forgeries
}

// bucket holds the records whose key begins with its number.
type bucket struct {
	entries map[Key]*entry
	sum     sum
}

// entry is the newest record of one owner and subject.
type entry struct {
	*Record
	until   time.Time // when all that it replaced has expired too
	sponsor *sponsor
	counted Kind // as what room counts it
	void    bool // expired, or from before a goodbye: it only keeps older ones out
}

// owner is what a set knows of one node.
type owner struct {
	entries []*entry
	goodbye *entry // its newest Gone of everything, if any
}

// New makes an empty set.
func New(o Options) *Set {
	if o.Verify == nil {
		o.Verify = (*Record).Verify
	}
	s := &Set{
		o:         o,
		verifying: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		owners:    map[identity.ID]*owner{},
		beating:   map[identity.ID]*owner{},
		proxies:   map[Key]*entry{},
		room:      newRoom(o.Limits),
		watchers:  map[*Watch]struct{}{},
	}
	if o.Self != nil {
		s.self = o.Self.ID()
		s.room.self = s.self
		s.room.trust(s.self, true)
	}
	for i := range s.buckets {
		s.buckets[i].entries = map[Key]*entry{}
	}
	return s
}

// Rejected is a record of a batch that did not enter, and why.
type Rejected struct {
	Index int  // in the batch
	Hash  Hash // of its bytes; zero if they are no record
	Err   error
}

// Merged is what became of a batch. Records that were known already, to the
// byte, are in neither list.
type Merged struct {
	Changed  []*Record
	Rejected []Rejected
}

// Bad tells whether no honest node would have sent one of these.
func (m Merged) Bad() error {
	for _, r := range m.Rejected {
		if errors.Is(r.Err, ErrMalformed) || errors.Is(r.Err, ErrForged) {
			return r.Err
		}
	}
	return nil
}

// Merge takes in the records that are newer than what is known. In which order
// and how often records come makes no difference, as long as there is room for
// all. From is the node that sent them: Watch tells it, so that they are not
// sent back.
//
// Everything cheap is looked at before a signature, bytes that were verified
// are not verified again, and at most half of the processors verify at once.
func (s *Set) Merge(now time.Time, from identity.ID, batch ...[]byte) Merged {
	var m Merged
	for i, raw := range batch {
		r, changed, err := s.merge(now, from, raw)
		if err != nil {
			no := Rejected{Index: i, Err: err}
			if r != nil {
				no.Hash = r.hash
			}
			m.Rejected = append(m.Rejected, no)
		}
		if changed {
			m.Changed = append(m.Changed, r)
		}
	}
	return m
}

func (s *Set) merge(now time.Time, from identity.ID, raw []byte) (r *Record, changed bool, err error) {
	if r, err = Parse(raw); err != nil {
		return nil, false, err
	}
	switch {
	case r.Issued.After(now.Add(MaxSkew)):
		return r, false, fmt.Errorf("%w: %s", ErrFuture, r.Issued.Sub(now).Round(time.Second))
	case !r.Live(now):
		return r, false, ErrExpired
	}
	s.mu.RLock()
	known, err := s.weigh(r, now)
	forged := s.forged.has(r.hash)
	s.mu.RUnlock()
	if forged {
		return r, false, ErrForged
	}
	if known || err != nil {
		return r, false, err
	}
	if known, err := s.verify(r, now); known || err != nil {
		return r, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, err = s.weigh(r, now); known || err != nil {
		return r, false, err
	}
	s.put(r, from)
	return r, true, nil
}

// Own takes in a record that this node just signed.
func (s *Set) Own(now time.Time, r *Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.weigh(r, now)
	if err != nil {
		return fmt.Errorf("taking in an own %s: %w", r.Kind(), err)
	}
	if !known {
		s.put(r, s.self)
	}
	return nil
}

// verify is called without mu. While it waited for its turn, the same bytes
// may have come from somebody else.
func (s *Set) verify(r *Record, now time.Time) (known bool, err error) {
	s.verifying <- struct{}{}
	defer func() { <-s.verifying }()
	s.mu.RLock()
	known, err = s.weigh(r, now)
	s.mu.RUnlock()
	if known || err != nil {
		return known, err
	}
	if err = s.o.Verify(r); err != nil {
		s.mu.Lock()
		s.forged.add(r.hash)
		s.mu.Unlock()
	}
	return false, err
}

// weigh says whether the record is known, or why it may not enter. It is
// called with mu held.
func (s *Set) weigh(r *Record, now time.Time) (known bool, err error) {
	old := s.buckets[r.key[0]].entries[r.key]
	if old != nil {
		switch {
		case old.hash == r.hash:
			return true, nil
		case newer(r, old.Record):
		case old.Serial == r.Serial:
			return false, ErrEquivocation
		default:
			return false, ErrOlder
		}
	}
	if o := s.owners[r.Owner]; o != nil && o.goodbye != nil && !after(r, o.goodbye.Record) && o.goodbye.until.After(now) {
		return false, ErrOlder
	}
	return false, s.room.admit(r, old, now)
}

// after tells whether r was said after that goodbye, or is one.
func after(r, goodbye *Record) bool {
	return r.Serial > goodbye.Serial || r.Subject == Everything
}

// put is called with mu held, for a record that was weighed.
func (s *Set) put(r *Record, from identity.ID) {
	o := s.owners[r.Owner]
	if o == nil {
		o = &owner{}
		s.owners[identity.ID(strings.Clone(string(r.Owner)))] = o // a key of its own: r may be replaced
	}
	b := &s.buckets[r.key[0]]
	e := b.entries[r.key]
	if e == nil {
		e = &entry{Record: r, until: r.Expires, sponsor: s.room.sponsor(sponsorOf(r))}
		b.entries[r.key] = e
		o.entries = append(o.entries, e)
	} else {
		s.uncount(e)
		e.Record, e.void = r, false
		if r.Expires.After(e.until) {
			e.until = r.Expires
		}
	}
	s.count(e)
	switch r.Kind() {
	case KindHeartbeat:
		s.beating[e.sponsor.id] = o
		s.proxies[r.key] = e
	case KindProxy:
		s.proxies[r.key] = e
		s.endsAt(r.Expires)
	default:
		delete(s.proxies, r.key)
		s.endsAt(r.Expires)
	}
	if r.Owner == s.self && from != s.self {
		s.o.Self.Raise(r)
	}
	if r.Subject == Everything {
		o.goodbye = e
		for _, old := range o.entries {
			if !after(old.Record, r) {
				s.avoid(old)
				if old.until.After(e.until) {
					e.until = old.until
				}
			}
		}
	}
	s.tell(Change{Record: r, From: from})
}

// avoid makes an entry count for nothing but keeping older ones out.
func (s *Set) avoid(e *entry) {
	if e.void {
		return
	}
	s.uncount(e)
	e.void = true
	s.room.add(e)
}

// count and uncount keep the digests and the quotas.
func (s *Set) count(e *entry) {
	e.counted = countedAs(e.Record)
	s.room.add(e)
	if inDigest(e.Record) {
		s.buckets[e.key[0]].sum.add(e.hash)
		s.total.add(e.hash)
	}
}

func (s *Set) uncount(e *entry) {
	s.room.remove(e)
	if !e.void && inDigest(e.Record) {
		s.buckets[e.key[0]].sum.sub(e.hash)
		s.total.sub(e.hash)
	}
}

// remove is called with mu held; the owner's list of entries is the caller's.
func (s *Set) remove(e *entry) {
	s.uncount(e)
	delete(s.buckets[e.key[0]].entries, e.key)
	delete(s.proxies, e.key)
}

// Trust says that this node has itself verified a reverse proxy, or no longer
// counts on it. What it vouches for is not limited as newcomers are.
func (s *Set) Trust(id identity.ID, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.trust(id, yes || id == s.self)
}

// Trusts counts the nodes that came to be trusted: what found no room before
// may find some now.
func (s *Set) Trusts() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.room.trusts
}

// Shun drops all that a node says, and the claims of its leases, and lets none
// of it in again until then: an address that never answers is not worth its
// room. A node does not shun itself.
func (s *Set) Shun(id identity.ID, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.self {
		return
	}
	s.room.shun(id, until)
	for other, o := range s.owners {
		kept := o.entries[:0]
		for _, e := range o.entries {
			if e.Owner != id && e.sponsor.id != id {
				kept = append(kept, e)
				continue
			}
			s.remove(e)
			if !e.void {
				s.tell(Change{Record: e.Record, Void: true})
			}
		}
		clear(o.entries[len(kept):])
		o.entries = kept
		if other == id {
			o.goodbye = nil
		}
		if len(kept) == 0 {
			delete(s.owners, other)
		}
	}
}

// Len is how many records hold.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for i := range s.buckets {
		for _, e := range s.buckets[i].entries {
			if !e.void {
				n++
			}
		}
	}
	return n
}

// blockOf is the neighbourhood that an address is counted in.
func blockOf(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(24) // no IPv4 address fails
	return p
}
