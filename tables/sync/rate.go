package sync

import (
	"sync"
	"time"

	"p2prc/tables/identity"
)

// What others may cost this node. What a node asked for itself is not counted.
const (
	recordsPerSecond = 200  // that one node sends unasked, over a longer time
	recordsAtOnce    = 4096 // all that a node may own
	allPerSecond     = 2000 // from everybody; a verification takes 0.1 ms
	allAtOnce        = 20_000
	roundsPerSecond  = 0.5 // comparisons that one node asks for
	roundsAtOnce     = 4
	bytesPerSecond   = 4 << 20 // of lists and records that one node asks for
	bytesAtOnce      = 16 << 20
	allBytes         = 16 << 20 // and everybody
	allBytesAtOnce   = 64 << 20

	barredFor = time.Minute // after what no honest node sends
	sweepFrom = 1024
)

// rate is a token bucket that may be overdrawn: whoever took too much waits.
type rate struct {
	perSecond, atOnce float64
	used              float64
	at                time.Time
}

// take counts n and says how long to wait before going on.
func (r *rate) take(n float64, now time.Time) time.Duration {
	r.used = r.left(now) + n
	r.at = now
	return time.Duration(max(0, r.used-r.atOnce) / r.perSecond * float64(time.Second))
}

// left is what of the usage still counts.
func (r *rate) left(now time.Time) float64 {
	return max(0, r.used-max(0, now.Sub(r.at).Seconds())*r.perSecond)
}

// toll is what one node has cost lately, over all its connections.
type toll struct {
	records, rounds, bytes rate
	barred                 time.Time // until then
}

func newToll() *toll {
	return &toll{
		records: rate{perSecond: recordsPerSecond, atOnce: recordsAtOnce},
		rounds:  rate{perSecond: roundsPerSecond, atOnce: roundsAtOnce},
		bytes:   rate{perSecond: bytesPerSecond, atOnce: bytesAtOnce},
	}
}

// clean tells that forgetting the toll changes nothing.
func (t *toll) clean(now time.Time) bool {
	return t.records.left(now) == 0 && t.rounds.left(now) == 0 && t.bytes.left(now) == 0 && !now.Before(t.barred)
}

// tolls counts for each node and for all. Only nodes that cost something in the
// last seconds are remembered.
type tolls struct {
	mu      sync.Mutex // guards what follows
	nodes   map[identity.ID]*toll
	sweepAt int
	records rate
	bytes   rate
}

func newTolls() *tolls {
	return &tolls{
		nodes: map[identity.ID]*toll{}, sweepAt: sweepFrom,
		records: rate{perSecond: allPerSecond, atOnce: allAtOnce},
		bytes:   rate{perSecond: allBytes, atOnce: allBytesAtOnce},
	}
}

// of is called with mu held.
func (ts *tolls) of(id identity.ID, now time.Time) *toll {
	t := ts.nodes[id]
	if t == nil {
		if len(ts.nodes) >= ts.sweepAt {
			for id, t := range ts.nodes {
				if t.clean(now) {
					delete(ts.nodes, id)
				}
			}
			ts.sweepAt = max(sweepFrom, 2*len(ts.nodes))
		}
		t = newToll()
		ts.nodes[id] = t
	}
	return t
}

func (ts *tolls) takeRecords(id identity.ID, n int, now time.Time) time.Duration {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return max(ts.of(id, now).records.take(float64(n), now), ts.records.take(float64(n), now))
}

func (ts *tolls) takeBytes(id identity.ID, n int, now time.Time) time.Duration {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return max(ts.of(id, now).bytes.take(float64(n), now), ts.bytes.take(float64(n), now))
}

func (ts *tolls) takeRound(id identity.ID, now time.Time) time.Duration {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.of(id, now).rounds.take(1, now)
}

func (ts *tolls) bar(id identity.ID, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.of(id, now).barred = now.Add(barredFor)
}

func (ts *tolls) barred(id identity.ID, now time.Time) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.nodes[id]
	return t != nil && now.Before(t.barred)
}
