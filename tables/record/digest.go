package record

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// Digest is a sum of the hashes of records: equal for equal sets, in whatever
// order they came. A sum and not an XOR: of those, anyone finds records by
// linear algebra that come to any value.
type Digest [16]byte

// sum is a digest that is kept up to date with each record.
type sum struct{ hi, lo uint64 }

func (s *sum) add(h Hash) {
	hi, lo := h.number()
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
}

func (s *sum) sub(h Hash) {
	hi, lo := h.number()
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, lo, 0)
	s.hi, _ = bits.Sub64(s.hi, hi, borrow)
}

func (s sum) digest() (d Digest) {
	binary.BigEndian.PutUint64(d[:8], s.hi)
	binary.BigEndian.PutUint64(d[8:], s.lo)
	return d
}

// inDigest leaves heartbeats out: they come anew every few seconds, and two
// sets that differ in nothing else have nothing to tell each other.
func inDigest(r *Record) bool { return r.Kind() != KindHeartbeat }

// Item is how a record is listed: enough to know whether one wants it.
type Item struct {
	Key    Key
	Serial uint64
	Hash   Hash
}

// Sum is the digest of all buckets.
func (s *Set) Sum() Digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.total.digest()
}

// Digests is the digest of each bucket.
func (s *Set) Digests() (all [Buckets]Digest) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.buckets {
		all[i] = s.buckets[i].sum.digest()
	}
	return all
}

// Bucket lists what the digest of one bucket sums up.
func (s *Set) Bucket(n byte) []Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items := make([]Item, 0, len(s.buckets[n].entries))
	for k, e := range s.buckets[n].entries {
		if !e.void && inDigest(e.Record) {
			items = append(items, Item{k, e.Serial, e.hash})
		}
	}
	return items
}

// Compare says what to do about another set's list of a bucket: which records
// it lacks or has older, and which this one wants. Of two that share a serial
// each needs the other's.
func (s *Set) Compare(n byte, theirs []Item) (lacks, want []Key) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := &s.buckets[n]
	seen := make(map[Key]struct{}, len(theirs))
	for _, it := range theirs {
		if it.Key[0] != n {
			continue
		}
		seen[it.Key] = struct{}{}
		e := b.entries[it.Key]
		switch {
		case e == nil || e.Serial < it.Serial:
			want = append(want, it.Key)
		case e.hash == it.Hash:
		case e.void: // it is over, there and here
		case e.Serial > it.Serial:
			lacks = append(lacks, it.Key)
		default:
			want, lacks = append(want, it.Key), append(lacks, it.Key)
		}
	}
	for k, e := range b.entries {
		if _, ok := seen[k]; !ok && !e.void && inDigest(e.Record) {
			lacks = append(lacks, k)
		}
	}
	return lacks, want
}

// Pick is the records of these keys that hold, in their order.
func (s *Set) Pick(keys []Key) []*Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Record, 0, len(keys))
	for _, k := range keys {
		if e := s.buckets[k[0]].entries[k]; e != nil && !e.void {
			out = append(out, e.Record)
		}
	}
	return out
}

// Beats is the heartbeats that hold.
func (s *Set) Beats(now time.Time) []*Record {
	return s.ofProxies(KindHeartbeat, now)
}

// All is every record that holds.
func (s *Set) All(now time.Time) []*Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Record, 0, s.room.all)
	for i := range s.buckets {
		for _, e := range s.buckets[i].entries {
			if !e.void && e.Live(now) {
				out = append(out, e.Record)
			}
		}
	}
	return out
}

// ofProxies is the records of a kind that only reverse proxies have, in no order.
func (s *Set) ofProxies(k Kind, now time.Time) []*Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Record, 0, len(s.beating))
	for _, e := range s.proxies {
		if !e.void && e.Kind() == k && e.Live(now) {
			out = append(out, e.Record)
		}
	}
	return out
}
