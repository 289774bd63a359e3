package supervisor

import (
	"fmt"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// How many reservation requests a node may make: a thousand calls of p2prc map
// in a row stay below it, a node that asks in a loop does not keep the others
// waiting for the book.
const (
	reservePerSecond = 50
	reserveBurst     = 200
	maxRates         = 10_000 // nodes that are counted
)

// rate is a bucket of requests that fills by itself.
type rate struct {
	left float64
	at   time.Time
}

// take takes one request out, if there is one.
func (b *rate) take(now time.Time) bool {
	b.left = min(reserveBurst, b.left+now.Sub(b.at).Seconds()*reservePerSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// mayReserve refuses a node that asks too often. It is told to ask again, which
// a server does after two seconds.
func (r *reverseProxy) mayReserve(id identity.ID, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.rates[id]
	if b == nil {
		if len(r.rates) >= maxRates {
			clear(r.rates)
		}
		b = &rate{left: reserveBurst, at: now}
		r.rates[id] = b
	}
	if !b.take(now) {
		return &peerapi.Refusal{Code: peerapi.CodeUnavailable, Message: fmt.Sprintf(
			"too many reservations: a node may ask %d times a second", reservePerSecond)}
	}
	return nil
}
