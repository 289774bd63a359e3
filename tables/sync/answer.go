package sync

import (
	"fmt"
	"time"

	"p2prc/tables/record"
)

// maxRoundDebt is how long a comparison may have to wait. Who asks for them
// faster than that does not keep to roundWait.
const maxRoundDebt = 30 * time.Second

// serves is what the accepting end still owes.
type serves struct {
	differ  [record.Buckets]bool // buckets to list
	listing bool
	bucket  int              // the next one
	items   []record.Item    // of the bucket before that are not sent yet
	wants   [][]record.Key   // to answer
	found   []*record.Record // of the first of them
	picked  bool             // found is filled
	at      time.Time        // not before
}

func (s *serves) due() time.Time {
	if s.listing || len(s.wants) > 0 {
		return s.at
	}
	return time.Time{}
}

func (c *session) takeDigests(b []byte) error {
	theirs, err := parseDigests(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.serves
	if c.mode != accepted || s.listing {
		return c.misplaced(kindDigests)
	}
	now := time.Now()
	wait := c.s.tolls.takeRound(c.peer, now)
	if wait > maxRoundDebt {
		return fmt.Errorf("%w: it asks for too much", errFrame)
	}
	s.delay(now.Add(wait))
	ours := c.s.o.Set.Digests()
	for i := range ours {
		s.differ[i] = ours[i] != theirs[i]
	}
	s.listing, s.bucket = true, 0
	return nil
}

func (s *serves) delay(until time.Time) {
	if until.After(s.at) {
		s.at = until
	}
}

func (c *session) takeWant(b []byte) error {
	keys, err := parseWant(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != accepted || len(c.serves.wants) >= maxWants {
		return c.misplaced(kindWant)
	}
	c.serves.wants = append(c.serves.wants, keys)
	return nil
}

// sayAsked is the next part of what was asked for. It is called with mu held.
func (c *session) sayAsked(b []byte, now time.Time) []byte {
	s := &c.serves
	if now.Before(s.at) {
		return b
	}
	switch {
	case len(s.wants) > 0:
		b = c.sayWanted(b)
	case s.listing:
		b = c.sayList(b)
	default:
		return b
	}
	s.delay(now.Add(c.s.tolls.takeBytes(c.peer, len(b), now)))
	return b
}

func (c *session) sayWanted(b []byte) []byte {
	s := &c.serves
	if !s.picked {
		s.found, s.picked = c.s.o.Set.Pick(s.wants[0]), true
	}
	if len(s.found) > 0 {
		b, n := appendRecords(b, s.found)
		s.found = s.found[n:]
		return b
	}
	s.wants, s.found, s.picked = s.wants[1:], nil, false
	return appendFrame(b, kindAnswered, nil)
}

func (c *session) sayList(b []byte) []byte {
	s := &c.serves
	for len(s.items) == 0 {
		for s.bucket < record.Buckets && !s.differ[s.bucket] {
			s.bucket++
		}
		if s.bucket == record.Buckets {
			s.listing = false
			return appendFrame(b, kindListed, nil)
		}
		s.items = c.s.o.Set.Bucket(byte(s.bucket))
		s.bucket++
		if len(s.items) == 0 {
			return appendList(b, byte(s.bucket-1), true, nil)
		}
	}
	n := min(len(s.items), maxItems)
	b = appendList(b, byte(s.bucket-1), n == len(s.items), s.items[:n])
	s.items = s.items[n:]
	return b
}
