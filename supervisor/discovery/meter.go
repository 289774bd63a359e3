package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	gosync "sync"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
)

// Bounds on dialling reverse proxies that others named.
const (
	dials      = 3                // of one measurement; the median counts
	dialWait   = 3 * time.Second  // of one dial: a round trip around the world takes 0.3 s
	atOnce     = 8                // measurements
	remeasure  = 30 * time.Minute // a proxy that answered
	tryAgain   = time.Minute      // one that did not; the pause doubles up to remeasure
	leastPause = 10 * time.Second // between two measurements of one proxy, whatever the reason

	// lateAfter is how long a heartbeat may be missed before the proxy is dialled:
	// one that vanished is found out long before its last heartbeat is void.
	lateAfter = record.BeatEvery + 2*time.Second

	// packetAfter is how long a packet of the mesh, straight from the proxy, stands
	// for the heartbeat: of those each member misses one in twenty.
	packetAfter = 6 * time.Second
)

// meter dials every reverse proxy that it hears of, pinned to its key: before
// that an address is only what somebody said. How long a connection takes to
// open is the latency.
type meter struct {
	d    *Discovery
	now  func() time.Time
	dial func(context.Context, identity.ID, netip.AddrPort) (time.Duration, error)
	// packet is when the mesh heard of a proxy last; zero: not lately. It is called
	// with mu held, and only reads: the mesh tells the meter of events elsewhere.
	packet func(identity.ID) time.Time
	wake   chan struct{}

	mu    gosync.Mutex // guards what follows
	known map[identity.ID]*measured
}

// measured is what came of dialling one reverse proxy.
type measured struct {
	addr    netip.AddrPort
	at      time.Time // of the last measurement; zero: none yet
	latency time.Duration
	err     error
	good    time.Time // of the last one that came through
	broke   time.Time // of the first one since then that did not; zero: there is none
	due     time.Time
	pause   time.Duration // before the next try, while it does not answer
	busy    bool

	beat  uint64    // serial of the last heartbeat
	heard time.Time // when that came
	late  bool      // and was the last one for too long
}

// soon makes the measurement due, but for the least pause.
func (got *measured) soon() {
	if at := got.at.Add(leastPause); at.Before(got.due) {
		got.due = at
	}
}

func newMeter(d *Discovery) *meter {
	return &meter{
		d: d, now: time.Now, dial: d.dialBack, packet: func(identity.ID) time.Time { return time.Time{} },
		wake: make(chan struct{}, 1), known: make(map[identity.ID]*measured),
	}
}

func (m *meter) String() string { return "dialling reverse proxies" }

// into completes a row that others told of.
func (m *meter) into(row *tables.ReverseProxy, p record.ProxyView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr := p.Proxy.NodeAddress()
	got := m.known[row.NodeID]
	if got == nil || got.addr != addr {
		got = &measured{addr: addr, due: m.now()}
		m.known[row.NodeID] = got
		wake(m.wake)
	}
	if p.Beat != nil && p.Beat.Serial != got.beat {
		if got.heard.IsZero() {
			wake(m.wake) // what was due last did not know that
		}
		got.beat, got.heard = p.Beat.Serial, m.now()
		if got.err != nil && (got.late || got.pause == tryAgain) { // heard again, or in spite of the first failure
			got.soon()
			wake(m.wake)
		}
		got.late = false
	}
	if !got.good.IsZero() {
		ms := float64(got.latency.Microseconds()) / 1000
		row.LatencyMS, row.VerifiedAt = &ms, got.good.UTC().Truncate(time.Second)
	}
	switch {
	case row.State != tables.Up:
	case got.at.IsZero():
		row.State, row.Reason = tables.Waiting, "not yet dialled from here"
	case got.err != nil && got.good.IsZero():
		row.State, row.Reason = tables.Waiting, "not reached from here: "+got.err.Error()
	case got.err != nil:
		row.State, row.Reason = tables.Down, "does not answer from here: "+got.err.Error()
	}
}

// claim takes a reverse proxy for a measurement out of turn, unless one is under
// way, or it was measured before and that is enough.
func (m *meter) claim(id identity.ID, addr netip.AddrPort, again bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.known[id]
	if got == nil || got.addr != addr {
		got = &measured{addr: addr}
		m.known[id] = got
	}
	if got.busy || !got.at.IsZero() && !again {
		return false
	}
	got.busy = true
	return true
}

// soon has a reverse proxy dialled again: something happened to it.
func (m *meter) soon(id identity.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.known[id]; got != nil {
		got.soon()
		wake(m.wake)
	}
}

// broken is why a proxy does not answer this node. Of one that this node may not
// dial nothing is known.
func (m *meter) broken(id identity.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.known[id]
	if got == nil || m.d.o.Filter.Check(got.addr.Addr()) != nil {
		return nil
	}
	return got.err
}

// broke is since when a proxy does not answer this node; zero: it does, or was
// never dialled.
func (m *meter) broke(id identity.ID) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.known[id]; got != nil {
		return got.broke
	}
	return time.Time{}
}

// verified is how this node reached the proxy last.
func (m *meter) verified(id identity.ID) (latency time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.known[id]
	if got == nil || got.err != nil || got.at.IsZero() {
		return 0, false
	}
	return got.latency, true
}

// Serve measures what is due until ctx ends.
func (m *meter) Serve(ctx context.Context) error {
	var wg gosync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, atOnce)
	for {
		id, addr, wait := m.next()
		if id == "" {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-m.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			m.measure(ctx, id, addr)
			<-slots
		})
	}
}

// next is a proxy whose measurement is due, or how long none will be. Those
// that nobody tells of any more are forgotten.
func (m *meter) next() (identity.ID, netip.AddrPort, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, wait := m.now(), remeasure
	for id, got := range m.known {
		if !got.late && !got.heard.IsZero() {
			if left := m.lateAt(id, got).Sub(now); left > 0 {
				wait = min(wait, left)
			} else {
				got.late = true
				got.soon()
			}
		}
		switch left := got.due.Sub(now); {
		case got.busy:
		case left > 0:
			wait = min(wait, left)
		default:
			if _, ok := m.d.set.ProxyOf(id, now); !ok {
				delete(m.known, id)
				continue
			}
			got.busy = true
			return id, got.addr, 0
		}
	}
	return "", netip.AddrPort{}, wait
}

// lateAt is when the next sign of life is overdue; the caller holds mu.
func (m *meter) lateAt(id identity.ID, got *measured) time.Time {
	at := got.heard.Add(lateAfter)
	if packet := m.packet(id).Add(packetAfter); packet.After(at) {
		return packet
	}
	return at
}

func (m *meter) measure(ctx context.Context, id identity.ID, addr netip.AddrPort) {
	latency, err := m.dial(ctx, id, addr)
	m.mu.Lock()
	got := m.known[id]
	if got == nil || got.addr != addr { // it has moved
		m.mu.Unlock()
		return
	}
	got.busy = false
	if ctx.Err() != nil {
		m.mu.Unlock()
		return
	}
	got.at, got.err = m.now(), err
	next := remeasure
	if err == nil {
		got.latency, got.good, got.broke, got.pause = latency, got.at, time.Time{}, 0
	} else {
		if got.broke.IsZero() {
			got.broke = got.at
		}
		first := tryAgain
		if !got.good.IsZero() {
			first = leastPause // it may be a short outage, and is no stranger
		}
		got.pause = min(max(2*got.pause, first), remeasure)
		next = got.pause
	}
	got.due = got.at.Add(next - next/10 + rand.N(next/5))
	m.mu.Unlock()
	m.d.set.Trust(id, err == nil)
	select {
	case m.d.rows.again <- id:
	default: // so much is going on that everything is looked at soon
	}
}

// dialBack opens a few connections to the proxy and makes sure on the last that
// it is the one.
func (d *Discovery) dialBack(ctx context.Context, id identity.ID, addr netip.AddrPort) (time.Duration, error) {
	var took []time.Duration
	dialer := d.o.Filter.Dialer()
	for range dials - 1 {
		start := time.Now()
		dialing, cancel := context.WithTimeout(ctx, dialWait)
		conn, err := dialer.DialContext(dialing, "tcp4", addr.String())
		cancel()
		if err != nil {
			return 0, plain(err)
		}
		took = append(took, time.Since(start))
		conn.Close()
	}
	conn, _, err := peerapi.DialProtocol(ctx, peerapi.DialOptions{
		Key: d.o.Key, ALPN: peerapi.ALPNSync, Pin: id, Timeout: 2 * dialWait,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			start := time.Now()
			conn, err := dialer.DialContext(ctx, network, address)
			took = append(took, time.Since(start))
			return conn, err
		},
	}.At(addr))
	if err != nil {
		return 0, err
	}
	conn.Close()
	slices.Sort(took)
	return took[len(took)/2], nil
}

// plain is what net says without the addresses, which the row has.
func plain(err error) error {
	if op, ok := err.(*net.OpError); ok {
		if op.Timeout() {
			return fmt.Errorf("no answer in %s; a firewall may be in the way", dialWait)
		}
		return op.Err
	}
	return err
}
