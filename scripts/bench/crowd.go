package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/mesh"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
	p2psync "p2prc/tables/sync"
)

const (
	eachHas = 100            // mappings of one server in a crowd
	claimed = 12 * time.Hour // leases of a crowd last for longer than any run
)

// crowd is reverse proxies in this process that are one mesh, and answer as
// real ones do. What they know is one set, which can be made as large as one
// likes in little time.
type crowd struct {
	set     *record.Set
	members []*member
	claims  int
	cancel  context.CancelFunc
	served  sync.WaitGroup
}

// member is a reverse proxy of a crowd.
type member struct {
	key    identity.Key
	signer *record.Signer
	at     netip.AddrPort
	proxy  *record.Record
	mesh   *mesh.Mesh

	mu    sync.Mutex // guards beats
	beats map[identity.ID]uint64
}

// news reports whether a heartbeat is new to this member: the set has it from
// others then, but the mesh is to pass it on as any mesh does.
func (m *member) news(raw []byte) bool {
	r, err := record.Parse(raw)
	if err != nil || r.Kind() != record.KindHeartbeat {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Serial <= m.beats[r.Owner] {
		return false
	}
	m.beats[r.Owner] = r.Serial
	return true
}

// crowd starts n reverse proxies.
func (w *world) crowd(n int) (*crowd, error) {
	c := &crowd{set: record.New(record.Options{})}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	w.open = append(w.open, c)
	for range n {
		if err := c.add(ctx, w); err != nil {
			return nil, err
		}
	}
	c.beat(c.members...)
	for _, m := range c.members {
		c.served.Go(func() { _ = m.mesh.Serve(ctx) })
		m.mesh.Join([]mesh.Seed{c.members[0].seed()})
	}
	c.served.Go(func() {
		tick := time.NewTicker(record.BeatEvery / time.Duration(n)) // nobody has the same clock
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.beat(c.members[i%n])
			}
		}
	})
	return c, nil
}

func (m *member) seed() mesh.Seed { return mesh.Seed{ID: m.key.ID(), At: m.at} }

// add starts one reverse proxy, but for its mesh.
func (c *crowd) add(ctx context.Context, w *world) error {
	port, err := w.freePort()
	if err != nil {
		return err
	}
	m := &member{key: identity.NewKey(), at: netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)), beats: map[identity.ID]uint64{}}
	if m.signer, err = record.NewSigner(record.SignerOptions{Key: m.key}); err != nil {
		return err
	}
	if m.proxy, err = m.signer.Sign(proxyBody(m.at)); err != nil {
		return err
	}
	c.set.Merge(time.Now(), "", []byte(m.proxy.Raw()))
	c.set.Trust(m.key.ID(), true)
	m.mesh, err = mesh.New(mesh.Options{
		Key: m.key, Address: m.at,
		Record:  func() []byte { return []byte(m.proxy.Raw()) },
		Vouched: func(id identity.ID, at netip.AddrPort) bool { return c.addressOf(id) == at },
		Known: func() []mesh.Seed {
			var seeds []mesh.Seed
			for _, p := range c.set.Proxies(time.Now()) {
				if p.Record.Owner != m.key.ID() {
					seeds = append(seeds, mesh.Seed{ID: p.Record.Owner, At: p.Proxy.NodeAddress()})
				}
			}
			return seeds
		},
		Deliver: func(raw []byte) bool {
			changed := len(c.set.Merge(time.Now(), "", raw).Changed) > 0
			return m.news(raw) || changed
		},
		Shorten: record.ShortBeat, Lengthen: record.LongBeat,
		Digest: func() []byte { sum := c.set.Sum(); return sum[:] },
		Differ: func(identity.ID) {}, // the others fetch what they miss
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", m.at.String())
	if err != nil {
		return fmt.Errorf("starting a reverse proxy of the crowd: %w", err)
	}
	syncer := p2psync.New(p2psync.Options{Set: c.set, Self: m.key.ID(), Relay: true})
	p := peerapi.NewPort(ln, peerapi.PortOptions{
		Key: m.key, Info: func() peerapi.ServerInfo { return peerapi.ServerInfo{NodeID: m.key.ID()} },
		Protocols: map[string]peerapi.Protocol{peerapi.ALPNSync: syncer.Speak, peerapi.ALPNMesh: m.mesh.Handle},
	})
	c.served.Go(func() { _ = p.Serve(ctx) })
	c.members = append(c.members, m)
	return nil
}

func (c *crowd) addressOf(id identity.ID) netip.AddrPort {
	p, ok := c.set.ProxyOf(id, time.Now())
	if !ok {
		return netip.AddrPort{}
	}
	return p.Proxy.NodeAddress()
}

// beat is a heartbeat of each.
func (c *crowd) beat(members ...*member) {
	for _, m := range members {
		r, err := m.signer.Sign(&record.Heartbeat{Free: 1000})
		if err != nil {
			continue // the proxy is silent, and the measurement says so
		}
		c.set.Merge(time.Now(), "", []byte(r.Raw()))
		m.news([]byte(r.Raw()))
		m.mesh.Beat([]byte(r.Raw()))
	}
}

// claim brings the set to n records by mappings of servers that there are not.
func (c *crowd) claim(ctx context.Context, n int) error {
	until := time.Now().Add(claimed).UTC().Truncate(time.Second)
	for c.set.Len() < n && ctx.Err() == nil {
		node := identity.NewKey()
		signer, err := record.NewSigner(record.SignerOptions{Key: node})
		if err != nil {
			return err
		}
		m := c.members[c.claims/eachHas%len(c.members)]
		for i := range min(eachHas, n-c.set.Len()) {
			signed := lease.Signed{
				Proxy: m.key.ID(), Node: node.ID(), Name: fmt.Sprintf("m%d", i), Type: tables.TCP,
				Port: uint16(20000 + c.claims/len(c.members)%10000), LeaseID: fmt.Sprintf("l%d", c.claims), Until: until,
			}.Sign(m.key.Sign)
			body, err := record.NewClaim(signed, m.key.Public(), record.Claim{Server: "home", Address: m.at.Addr()})
			if err != nil {
				return err
			}
			r, err := signer.Sign(body)
			if err != nil {
				return err
			}
			if got := c.set.Merge(time.Now(), "", []byte(r.Raw())); len(got.Rejected) > 0 {
				return got.Rejected[0].Err
			}
			c.claims++
		}
	}
	return context.Cause(ctx)
}

// Close ends the crowd without a goodbye.
func (c *crowd) Close() error {
	c.cancel()
	c.served.Wait()
	return nil
}

func (m *member) asSeed() discovery.Seed { return discovery.Seed{Host: host, Port: m.at.Port()} }
