package sync_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

const (
	simLatency = 50 * time.Millisecond
	simFanout  = 4
)

// simulation is many nodes in virtual time: proxies that pass each new record
// on to some others, as a mesh does, and servers that are attached to two.
type simulation struct {
	proxies, servers []*node
	links            map[*node][]*link // that a node dialled, or accepted
	gossiped         map[*node]int     // bytes that a proxy sent to others
	mu               sync.Mutex        // guards gossiped
	stop             context.CancelFunc
	running          sync.WaitGroup
}

// checked is the signatures that were verified: the nodes of a simulation share
// one processor, and need not all verify the same bytes.
type checked struct {
	mu sync.Mutex
	ok map[record.Hash]error
}

func (c *checked) verify(r *record.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err, known := c.ok[r.Hash()]
	if !known {
		err = r.Verify()
		c.ok[r.Hash()] = err
	}
	return err
}

func simulate(t *testing.T, proxies, servers int) *simulation {
	ctx, stop := context.WithCancel(context.Background())
	s := &simulation{links: map[*node][]*link{}, gossiped: map[*node]int{}, stop: stop}
	o := record.Options{Verify: (&checked{ok: map[record.Hash]error{}}).verify}
	for range proxies {
		s.proxies = append(s.proxies, newNodeOf(t, o, relay))
	}
	for range servers {
		s.servers = append(s.servers, newNodeOf(t, o, nil))
	}
	for i, p := range s.proxies {
		s.running.Go(func() { s.gossip(ctx, p) })
		s.running.Go(func() { s.beat(ctx, t, p) })
		p.say(t, p.proxy(i))
	}
	for _, n := range s.servers {
		two := rand.Perm(proxies)[:2]
		for _, i := range two {
			s.attach(ctx, n, s.proxies[i])
		}
	}
	return s
}

func (s *simulation) attach(ctx context.Context, n, p *node) {
	near, far := newLink(simLatency)
	s.links[n] = append(s.links[n], near)
	s.links[p] = append(s.links[p], far)
	// Not all at once, and not in step.
	delay := rand.N(10 * time.Second)
	s.running.Go(func() {
		if pause(ctx, delay) {
			_ = p.sync.Serve(ctx, n.id, far)
		}
	})
	s.running.Go(func() {
		if pause(ctx, delay) {
			_ = n.sync.Attach(ctx, p.id, near)
		}
	})
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// gossip stands in for the mesh: whatever is new here goes to some members
// picked at random, which do the same.
func (s *simulation) gossip(ctx context.Context, p *node) {
	w := p.set.Watch(100_000)
	defer w.Close()
	for {
		select {
		case <-w.Wake():
		case <-ctx.Done():
			return
		}
		changes, _ := w.Take()
		var batch [][]byte
		size := 0
		for _, c := range changes {
			if !c.Void {
				batch = append(batch, []byte(c.Record.Raw()))
				size += len(c.Record.Raw())
			}
		}
		for _, i := range rand.Perm(len(s.proxies))[:min(simFanout, len(s.proxies))] {
			to := s.proxies[i]
			s.mu.Lock()
			s.gossiped[p] += size
			s.mu.Unlock()
			time.AfterFunc(simLatency, func() { to.set.Merge(time.Now(), p.id, batch...) })
		}
	}
}

func (s *simulation) beat(ctx context.Context, t *testing.T, p *node) {
	if !pause(ctx, rand.N(record.BeatEvery)) {
		return
	}
	for {
		if err := p.own.Beat(time.Now(), record.Heartbeat{Free: 1000, Load: 40}); err != nil {
			t.Error(err)
		}
		p.set.Expire(time.Now())
		if !pause(ctx, record.BeatEvery) {
			return
		}
	}
}

func (s *simulation) all() []*node { return slices.Concat(s.proxies, s.servers) }

// known is how long it takes until the record is at all nodes, and at half of them.
func (s *simulation) known(t *testing.T, owner identity.ID, subject record.Subject, serial uint64) (half, all time.Duration) {
	t.Helper()
	began := time.Now()
	left := s.all()
	total := len(left)
	for {
		left = slices.DeleteFunc(left, func(n *node) bool {
			r := n.set.Get(owner, subject, time.Now())
			return r != nil && r.Serial >= serial
		})
		if half == 0 && len(left) <= total/2 {
			half = time.Since(began)
		}
		if len(left) == 0 {
			return half, time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%d nodes of %d do not know it after a minute", len(left), total)
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
}

func (s *simulation) sent(nodes []*node) (bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		bytes += s.gossiped[n]
		for _, l := range s.links[n] {
			bytes += l.sent()
		}
	}
	return bytes
}

// got is what came in over links; gossip comes in as often as it goes out.
func (s *simulation) got(nodes []*node) (bytes int) {
	for _, n := range nodes {
		for _, l := range s.links[n] {
			l.in.mu.Lock()
			bytes += l.in.total
			l.in.mu.Unlock()
		}
	}
	return bytes
}

func (s *simulation) end() {
	s.stop()
	s.running.Wait()
}

type size struct {
	name             string
	proxies, servers int
}

func TestSimulation(t *testing.T) {
	sizes := []size{{"500 nodes", 20, 480}, {"2000 nodes", 50, 1950}}
	if raced {
		sizes = []size{{"150 nodes", 10, 140}} // `make simulation` runs the others
	}
	for _, tc := range sizes {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, tc.proxies, tc.servers)
				defer s.end()
				time.Sleep(25 * time.Second) // virtual: all have attached
				synctest.Wait()
				for _, n := range s.all() {
					if n.set.Sum() != s.proxies[0].set.Sum() {
						t.Fatalf("a node knows %d records, a proxy %d", n.set.Len(), s.proxies[0].set.Len())
					}
					if v := n.set.View(time.Now()); len(v.Proxies) != tc.proxies || slices.ContainsFunc(v.Proxies, func(p record.ProxyView) bool { return !p.Alive() }) {
						t.Fatalf("a node knows %d proxies, not all alive", len(v.Proxies))
					}
				}

				const limit = 5 * time.Second
				check := func(what string, owner *node, subject record.Subject) {
					r := owner.set.Get(owner.id, subject, time.Now())
					half, all := s.known(t, owner.id, subject, r.Serial)
					t.Logf("%s: at half of the nodes after %s, at all after %s", what, half, all)
					if all > limit {
						t.Errorf("%s: at all after %s", what, all)
					}
				}
				gate := s.proxies[0]
				gate.say(t, gate.proxy(60))
				check("a reverse proxy", gate, record.SubjectProxy)

				home := s.servers[0]
				claim := home.claims(t, gate, 1)
				home.say(t, claim...)
				tunnel := record.Tunnel{Node: home.id, Proxy: gate.id, Name: claim[0].(*record.Claim).Signed().Name}
				check("a mapping", home, tunnel.ClaimSubject())

				home.say(t, append(claim, &record.Down{Tunnel: tunnel, Reason: "nothing listens", Since: time.Now()})...)
				check("a down", home, tunnel.DownSubject())
				if err := home.own.Goodbye(time.Now()); err != nil {
					t.Fatal(err)
				}
				check("a goodbye", home, record.Everything)

				// Nothing but heartbeats from now on.
				time.Sleep(15 * time.Second)
				synctest.Wait()
				const idle = 30
				proxySent, proxyGot, serverSent, serverGot := s.sent(s.proxies), s.got(s.proxies), s.sent(s.servers), s.got(s.servers)
				time.Sleep(idle * time.Second)
				synctest.Wait()
				per := func(now, before int, nodes []*node) int { return (now - before) / idle / len(nodes) }
				server := per(s.got(s.servers), serverGot, s.servers) + per(s.sent(s.servers), serverSent, s.servers)
				t.Logf("idle, without TLS: a server gets %d B/s and sends %d B/s; a proxy sends %d B/s in all, %d B/s for each server attached, and gets %d B/s from servers",
					per(s.got(s.servers), serverGot, s.servers), per(s.sent(s.servers), serverSent, s.servers),
					per(s.sent(s.proxies), proxySent, s.proxies), (s.sent(s.proxies)-proxySent)/idle/(2*len(s.servers)), per(s.got(s.proxies), proxyGot, s.proxies))
				if server > 5000 {
					t.Errorf("idle: %d B/s at a server", server)
				}
			})
		})
	}
}

// A proxy that is cut off from the others is still known, by the servers that
// are attached to it and to another; and when it is back all agree.
func TestSimulation_partition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode(t, relay), newNode(t, relay)
		var servers []*node
		s := &simulation{links: map[*node][]*link{}, gossiped: map[*node]int{}}
		ctx, stop := context.WithCancel(context.Background())
		s.stop = stop
		defer s.end()
		for range 20 {
			n := newNode(t, nil)
			servers = append(servers, n)
			s.attach(ctx, n, a)
			s.attach(ctx, n, b)
		}
		time.Sleep(15 * time.Second)
		a.say(t, a.proxy(1))
		b.say(t, b.proxy(2))
		began := time.Now()
		for !same(a.set, b.set)() && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("bridged after %s", took)
		}
		t.Logf("bridged after %s", time.Since(began))
		// The servers go, the proxies say more, and meet again.
		s.end()
		a.say(t, a.proxy(3))
		b.say(t, b.proxy(4))
		servers[0].say(t, servers[0].claims(t, a, 3)...)
		near, far := newLink(simLatency)
		serving := run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, a.id, far) })
		if err := a.sync.Reconcile(t.Context(), b.id, near); err != nil {
			t.Error(err)
		}
		if err := <-serving.ended; err != nil {
			t.Error(err)
		}
		if !same(a.set, b.set)() {
			t.Error("they differ")
		}
	})
}
