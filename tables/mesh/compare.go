package mesh

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
)

// Two things show that a record passed this node by, long before the next
// push/pull does: a member that others have and nobody vouches for here, and
// answers to probes, which carry a sum of what the other knows.

const (
	// maxStrangers bounds what members can make this node remember.
	maxStrangers = 64
	sumSize      = 8
)

// compared is what the last probe showed.
type compared struct {
	own    []byte // sum of what this node knew
	differ bool
	asked  time.Time // when the owner was last told to fetch
}

func (m *Mesh) sum() []byte {
	sum := sha256.Sum256(m.o.Digest())
	return sum[:sumSize]
}

// AckPayload goes with each answer to a probe.
func (d delegate) AckPayload() []byte { return d.m.sum() }

// NotifyPingComplete tells the owner that a member knows something else, if two
// of them did in a row, and no news came to this node between: one alone may
// just have heard what is still on its way here.
func (d delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, sum []byte) {
	peer, err := identity.ParseID(n.Name)
	if err != nil || len(sum) != sumSize {
		return
	}
	own := d.m.sum()
	d.m.mu.Lock()
	last := d.m.compared
	now := compared{own: own, differ: !bytes.Equal(own, sum), asked: last.asked}
	ask := now.differ && last.differ && bytes.Equal(own, last.own) && time.Since(last.asked) > d.m.pace.first
	if ask {
		now.asked = time.Now()
	}
	d.m.compared = now
	d.m.mu.Unlock()
	if ask {
		d.m.notify(func() { d.m.o.Differ(peer) })
	}
}

// refused remembers a member of others for whom nobody vouches here. Its record
// is on its way, most likely, or it passed by before this node was a member.
func (m *Mesh) refused(s Seed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.strangers[s]; !ok && len(m.strangers) < maxStrangers {
		m.strangers[s] = time.Now()
		m.look()
	}
}

// fetch tells the owner to ask some member, when the record of a stranger did
// not come by itself; seldom, since members can lie about others. It gives when
// to come again: at latest, or before.
func (m *Mesh) fetch(latest time.Time) time.Time {
	missing := false
	for s, since := range m.waiting() {
		at := since.Add(m.pace.soon)
		switch {
		case m.o.Vouched(s.ID, s.At):
			m.mu.Lock()
			delete(m.strangers, s)
			m.mu.Unlock()
		case !at.After(time.Now()):
			missing = true
		case at.Before(latest):
			latest = at
		}
	}
	members := m.Members()
	if !missing || len(members) == 0 {
		return latest
	}
	m.mu.Lock()
	again := m.compared.asked.Add(m.pace.first)
	ask := time.Now().After(again)
	if ask {
		m.compared.asked = time.Now()
		clear(m.strangers)
	}
	m.mu.Unlock()
	if !ask {
		if again.Before(latest) {
			return again
		}
		return latest
	}
	peer := members[rand.IntN(len(members))].ID
	m.notify(func() { m.o.Differ(peer) })
	return latest
}

// waiting is a copy of the strangers.
func (m *Mesh) waiting() map[Seed]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.strangers)
}
