package sync

import (
	"time"

	"p2prc/tables/record"
)

// A comparison follows another after roundWait, and after twice the time
// whenever it did not make the sets equal: what one end has no room for, it
// would be offered for ever.
const (
	roundWait    = 2 * time.Second
	maxRoundWait = 30 * time.Minute
	maxListed    = 1 << 20 // items in one comparison; a set has a tenth of that
	maxRefused   = 1 << 16
	refusedFor   = time.Hour
)

// round is a comparison of the digests, driven by the end that dialled.
type round struct {
	at      time.Time     // when the next may begin; zero: none is due
	wait    time.Duration // until the one after that
	last    time.Time     // when one began
	lost    bool          // news were lost: the sums need not differ to begin
	running bool
	listed  bool // all lists have come
	items   int
	list    []record.Item // of a bucket that is not complete
	needs   []record.Key
	lacks   []record.Key // at the other end
	open    int          // wants that are not answered
	ending  bool         // the last want is sent: its answer comes after all else

	// What did not enter is not asked for again in the next hour, or until somebody
	// else is trusted.
	refused map[record.Hash]struct{}
	forget  time.Time // when refused is emptied
	trusts  int       // what the set counted when it was
}

func (r *round) refuse(m record.Merged, now time.Time) {
	if !r.running || len(m.Rejected) == 0 {
		return
	}
	if r.refused == nil || now.After(r.forget) || len(r.refused)+len(m.Rejected) > maxRefused {
		r.refused, r.forget = map[record.Hash]struct{}{}, now.Add(refusedFor)
	}
	for _, no := range m.Rejected {
		r.refused[no.Hash] = struct{}{}
	}
}

func (r *round) due() time.Time {
	if r.running {
		return time.Time{}
	}
	return r.at
}

// hurry has the next comparison begin soon.
func (r *round) hurry(now time.Time) {
	at := now
	if soonest := r.last.Add(roundWait); at.Before(soonest) {
		at = soonest
	}
	if r.at.IsZero() || at.Before(r.at) {
		r.at = at
	}
}

// takeSum compares the other end's sum with this one's.
func (c *session) takeSum(b []byte) error {
	sum, compare, err := parseSum(b)
	if err != nil || c.mode == accepted {
		return err
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case compare:
		c.round.hurry(now)
	case c.round.running:
	case sum == c.s.o.Set.Sum():
		c.round.wait = roundWait
		if !c.round.lost {
			c.round.at = time.Time{}
		}
	case c.round.at.IsZero():
		c.round.at = now.Add(c.round.wait)
		c.round.wait = min(2*c.round.wait, maxRoundWait)
	case len(c.round.refused) > 0 && c.s.o.Set.Trusts() != c.round.trusts:
		c.round.hurry(now)
	}
	return nil
}

// sayRound is the next step of a comparison, or the first. It is called with mu held.
func (c *session) sayRound(b []byte, now time.Time) []byte {
	r := &c.round
	switch {
	case c.mode == accepted:
	case !r.running:
		if r.at.IsZero() || now.Before(r.at) {
			return b
		}
		trusts := c.s.o.Set.Trusts()
		if now.After(r.forget) || trusts != r.trusts {
			r.refused = nil
		}
		*r = round{wait: r.wait, last: now, running: true, refused: r.refused, forget: r.forget, trusts: trusts}
		return appendDigests(b, c.s.o.Set.Digests())
	case len(r.needs) > 0 && r.open < maxWants:
		n := min(len(r.needs), maxWant)
		b = appendWant(b, r.needs[:n])
		c.credit += n
		r.needs = r.needs[n:]
		r.open++
	case len(r.lacks) > 0:
		// The records that hold by now: some may have been replaced since.
		n := min(len(r.lacks), maxWant)
		found := c.s.o.Set.Pick(r.lacks[:n])
		if len(found) == 0 {
			r.lacks = r.lacks[n:]
			return c.sayRound(b, now)
		}
		var sent int
		b, sent = appendRecords(b, found)
		if sent < len(found) {
			n = indexOf(r.lacks[:n], found[sent].Key())
		}
		r.lacks = r.lacks[n:]
	case r.listed && len(r.needs) == 0 && r.open == 0 && !r.ending:
		r.ending = true
		r.open++
		b = appendWant(b, nil)
	}
	return b
}

func indexOf(keys []record.Key, k record.Key) int {
	for i := range keys {
		if keys[i] == k {
			return i
		}
	}
	return len(keys)
}

func (c *session) takeList(b []byte) error {
	bucket, last, items, err := parseList(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.round
	if r.items += len(items); c.mode == accepted || !r.running || r.listed || r.items > maxListed {
		return c.misplaced(kindList)
	}
	for _, it := range items {
		if _, no := r.refused[it.Hash]; !no {
			r.list = append(r.list, it)
		}
	}
	if !last {
		return nil
	}
	lacks, needs := c.s.o.Set.Compare(bucket, r.list)
	r.list = nil
	r.lacks = append(r.lacks, lacks...)
	r.needs = append(r.needs, needs...)
	return nil
}

// takeEnd takes in that lists, or the answer to a want, are complete.
func (c *session) takeEnd(k kind) error {
	c.mu.Lock()
	r := &c.round
	if c.mode == accepted || !r.running || (k == kindListed && r.listed) || (k == kindAnswered && r.open == 0) {
		c.mu.Unlock()
		return c.misplaced(k)
	}
	if k == kindListed {
		r.listed = true
		c.mu.Unlock()
		return nil
	}
	r.open--
	over := r.ending && r.open == 0
	if over {
		*r = round{wait: r.wait, last: r.last, at: r.at, refused: r.refused, forget: r.forget, trusts: r.trusts}
		c.credit = 0
		c.done = c.mode == once
	}
	c.mu.Unlock()
	if over && c.s.o.Synced != nil {
		c.s.o.Synced(c.peer)
	}
	return nil
}
