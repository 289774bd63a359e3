package peerapi

import (
	"sync"
	"time"

	"p2prc/tables/identity"
)

// How often one node may call. In peace it reports every few seconds; in
// trouble it retries with backoff.
const (
	callsPerSecond = 50
	callsAtOnce    = 200
)

// sweepFrom is how many buckets are kept before full ones are looked for.
const sweepFrom = 1024

// limiter is a token bucket for each key. A bucket that is full again says the
// same as none, so only those that were used in the last seconds are kept:
// strangers can make keys for nothing, but not without a handshake each.
type limiter struct {
	perSecond, atOnce float64

	mu      sync.Mutex // guards what follows
	buckets map[identity.ID]bucket
	sweepAt int
}

type bucket struct {
	left float64
	at   time.Time
}

func newLimiter(perSecond, atOnce float64) *limiter {
	return &limiter{perSecond: perSecond, atOnce: atOnce, buckets: map[identity.ID]bucket{}, sweepAt: sweepFrom}
}

// allow reports whether the node may call now.
func (l *limiter) allow(id identity.ID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buckets) >= l.sweepAt {
		l.sweep(now)
	}
	left := l.left(id, now)
	if left < 1 {
		return false
	}
	l.buckets[id] = bucket{left - 1, now}
	return true
}

func (l *limiter) left(id identity.ID, now time.Time) float64 {
	b, ok := l.buckets[id]
	if !ok {
		return l.atOnce
	}
	return min(l.atOnce, b.left+now.Sub(b.at).Seconds()*l.perSecond)
}

func (l *limiter) sweep(now time.Time) {
	for id := range l.buckets {
		if l.left(id, now) >= l.atOnce {
			delete(l.buckets, id)
		}
	}
	l.sweepAt = max(sweepFrom, 2*len(l.buckets))
}
