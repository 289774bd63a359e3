package supervisor

import (
	"bytes"
	"sync"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/record"
)

// claims is what a server tells the world of its mappings: what each of its
// attachments last said.
type claims struct {
	mu sync.Mutex // guards by
	by map[*attachment][]record.Body
}

func (c *claims) put(a *attachment, said []record.Body) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[*attachment][]record.Body)
	}
	c.by[a] = said
}

// all is for discovery, which asks from its own goroutine.
func (c *claims) all() []record.Body {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []record.Body
	for _, said := range c.by {
		out = append(out, said...)
	}
	return out
}

// claim tells the world of every mapping that worked once, but for canary
// domains: where it is, under which lease, and since when it does not work now, if
// it does not.
func (a *attachment) claim(now time.Time) {
	key := a.link.client.PeerKey()
	if key == nil {
		return // the proxy was not reached yet, so nothing worked
	}
	said := make([]record.Body, 0, len(a.maps))
	for _, m := range a.maps {
		if m.lease == nil || !m.wasUp || m.Type.ByName() && (m.node || len(m.lease.Signed) == 0) {
			continue // a reverse proxy that knows no claims of domains signs none
		}
		role := record.Active
		if m.row.Standby {
			role = record.Standby
		}
		if m.claim == nil || !bytes.Equal(m.claim.Lease(), m.lease.Signed) || m.claim.Role != role || m.claim.Address != m.row.Address {
			c, err := record.NewClaim(m.lease.Signed, key, record.Claim{
				Server: a.s.o.Name, Address: m.row.Address, Role: role, Node: m.node,
			})
			if err != nil {
				a.log.Warn("the lease cannot be shown to others", "row", m.Name, "err", err)
				continue
			}
			m.claim = c
		}
		said = append(said, m.claim)
		if m.row.State == tables.Up {
			m.downSince = time.Time{}
			continue
		}
		if m.downSince.IsZero() {
			m.downSince = now.UTC().Truncate(time.Second)
		}
		said = append(said, &record.Down{Tunnel: m.claim.Tunnel(), Reason: m.row.Reason, Since: m.downSince})
	}
	a.s.claims.put(a, said)
	a.s.discovery.Changed()
}

// near are the reverse proxies of this server, the active one first.
func (s *server) near() []discovery.Near {
	var near []discovery.Near
	for _, a := range s.standing.all() {
		near = append(near, discovery.Near{Seed: discovery.Seed{Host: a.up.Host, Port: a.up.Port}, ID: a.proxyID()})
	}
	return near
}
