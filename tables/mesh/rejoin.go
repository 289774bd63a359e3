package mesh

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
)

const (
	// maxAttempts is how many proxies are tried at once.
	maxAttempts = 4
	// lookInterval is how often the proxies that are known are compared with those
	// that are here.
	lookInterval = 10 * time.Second
	// calm is the least time between two looks that records gave the reason for.
	calm = 100 * time.Millisecond
)

// way is a proxy that is known and not here: a way back in, for both.
type way struct {
	failures int
	next     time.Time
	under    bool // an attempt is under way
	member   bool // it is here
}

// rejoin tries the proxies that are not here until ctx ends. memberlist itself
// never does: two halves of a mesh that lost each other stay apart.
// The attempts under way are left to joins: a goodbye need not wait for them.
func (m *Mesh) rejoin(ctx context.Context, list *memberlist.Memberlist, t *transport, joins *sync.WaitGroup) {
	ways := map[Seed]*way{}
	done := make(chan Seed, maxAttempts)
	under := 0
	for {
		t.weed()
		next := m.fetch(time.Now().Add(lookInterval))
		for _, s := range m.due(ways, &next) {
			if under == maxAttempts {
				break // their ends come here too
			}
			under++
			ways[s].under = true
			joins.Go(func() {
				// Who cannot be joined was logged where it was dialled.
				_, _ = list.Join([]string{s.String()})
				done <- s
			})
		}
		select {
		case <-ctx.Done():
			return
		case s := <-done:
			under--
			m.tried(ways, s)
		case <-m.wake:
			select {
			case <-time.After(calm):
			case <-ctx.Done():
			}
		case <-time.After(time.Until(next)):
		}
	}
}

// tried puts off the next attempt. One that came through counts too: if it did
// not make the other a member, there is a reason.
func (m *Mesh) tried(ways map[Seed]*way, s Seed) {
	w := ways[s]
	w.under = false
	w.failures++
	w.next = time.Now().Add(m.backoff(w.failures))
}

// backoff doubles from pace.first to pace.most, give or take half.
func (m *Mesh) backoff(failures int) time.Duration {
	d := m.pace.first << min(failures-1, 20)
	return jitter(min(d, m.pace.most))
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// due gives the proxies to try now, in random order, and moves next to when
// there will be more.
func (m *Mesh) due(ways map[Seed]*way, next *time.Time) []Seed {
	known := m.waysIn()
	members := m.Members()
	here := make(map[identity.ID]bool, len(members))
	for _, s := range members {
		here[s.ID] = true
	}
	for s, w := range ways {
		if !known[s] && !w.under {
			delete(ways, s)
		}
	}
	now := time.Now()
	var due []Seed
	for s := range known { // Go's maps are in random order
		w := ways[s]
		switch {
		case w == nil:
			w = &way{next: now}
			if len(here) > 0 {
				// Those who are here most likely bring it along.
				w.next = now.Add(jitter(m.pace.soon))
			}
			ways[s] = w
		case w.member && !here[s.ID]:
			*w = way{failures: 1, next: now.Add(m.backoff(1))}
		}
		switch w.member = here[s.ID]; {
		case w.member || w.under:
		case now.Before(w.next):
			if w.next.Before(*next) {
				*next = w.next
			}
		default:
			due = append(due, s)
		}
	}
	return due
}

// waysIn are the proxies that may be dialled, but for this one.
func (m *Mesh) waysIn() map[Seed]bool {
	known := map[Seed]bool{}
	for _, s := range m.o.Known() {
		known[s] = true
	}
	m.mu.Lock()
	for s := range m.seeds {
		known[s] = true
	}
	m.mu.Unlock()
	for s := range known {
		if s.ID == m.o.Key.ID() || !m.o.Vouched(s.ID, s.At) {
			delete(known, s)
		}
	}
	return known
}
