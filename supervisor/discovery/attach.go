package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

const (
	// attachments is how many reverse proxies a node that is none keeps in touch
	// with: one that lies or dies costs nothing but a switch.
	attachments = 2

	syncWait = 10 * time.Second // to reach a node and prove who it is

	firstPause = time.Second // after a connection that did not work out
	mostPause  = time.Minute
)

// contact is a node to synchronize with.
type contact struct {
	Seed
	pin   identity.ID // empty: whoever answers there
	named bool        // by others: the filter holds
	near  bool        // this node has to do with it anyway
}

// attach keeps the nth sync connection to a reverse proxy up.
func (d *Discovery) attach(ctx context.Context, n int) error {
	pause := firstPause
	avoid := make(map[contact]time.Time) // until when
	for {
		c, ok := d.pick(n, avoid)
		if ok {
			start := time.Now()
			err := d.stay(ctx, c, n)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.log.Debug("the sync connection ended", "peer", c.Seed, "err", err)
			if c.pin != "" {
				d.meter.soon(c.pin)
			}
			avoid[c] = time.Now().Add(2 * pause) // another one first
			if time.Since(start) > mostPause {
				pause = firstPause
			}
		}
		timer := time.NewTimer(pause - pause/10 + rand.N(pause/5))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, mostPause)
		if !ok {
			clear(avoid) // everyone had a chance
			pause = firstPause * 5
		}
	}
}

// pick is whom the nth connection should go to, other than the other ones'.
func (d *Discovery) pick(n int, avoid map[contact]time.Time) (contact, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.contacts() {
		if time.Now().Before(avoid[c]) {
			continue
		}
		taken := false
		for i, a := range d.attached {
			taken = taken || i != n && (a.Seed == c.Seed || a.pin != "" && a.pin == c.pin)
		}
		if !taken {
			d.attached[n] = c
			return c, true
		}
	}
	d.attached[n] = contact{}
	return contact{}, false
}

// contacts are all nodes that may be synchronized with, best first: those that
// this node has to do with anyway, those that live, those that the user named.
// The order of strangers is another one each time.
func (d *Discovery) contacts() []contact {
	var near, live, rest []contact
	at := make(map[Seed]identity.ID)
	proxies := d.set.Proxies(time.Now())
	for _, p := range proxies {
		a := p.Proxy.NodeAddress()
		at[Seed{a.Addr().String(), a.Port()}] = p.Record.Owner
	}
	seen := make(map[Seed]bool)
	add := func(list []contact, c contact) []contact {
		if seen[c.Seed] {
			return list
		}
		seen[c.Seed] = true
		return append(list, c)
	}
	if d.o.Near != nil {
		for _, s := range d.o.Near() {
			near = add(near, contact{Seed: s.Seed, pin: cmp.Or(s.ID, at[s.Seed]), near: true})
		}
	}
	for _, s := range d.added {
		rest = add(rest, contact{Seed: s, pin: at[s]})
	}
	for _, p := range proxies {
		if p.Record.Owner == d.o.Key.ID() {
			continue
		}
		a := p.Proxy.NodeAddress()
		c := contact{Seed: Seed{a.Addr().String(), a.Port()}, pin: p.Record.Owner, named: true}
		if p.Alive() {
			live = add(live, c)
		} else {
			rest = add(rest, c)
		}
	}
	rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	return slices.Concat(near, live, rest)
}

// nearest is whom this node is in touch with or has to do with, and whom else it
// could be in touch with.
func (d *Discovery) nearest() (close, others []contact) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.contacts() {
		attached := slices.ContainsFunc(d.attached[:], func(a contact) bool { return a.Seed == c.Seed })
		if attached || c.near {
			close = append(close, c)
		} else {
			others = append(others, c)
		}
	}
	return close, others
}

// dial opens a sync connection.
func (d *Discovery) dial(ctx context.Context, c contact) (conn syncConn, err error) {
	o := peerapi.DialOptions{
		Key: d.o.Key, ALPN: peerapi.ALPNSync, Host: c.Host, Port: c.Port, Pin: c.pin, Timeout: syncWait,
	}
	if c.named {
		o.Dial = d.o.Filter.Dialer().DialContext
	}
	raw, id, err := peerapi.DialProtocol(ctx, o)
	if err != nil {
		return syncConn{}, fmt.Errorf("syncing with %s: %w", c.Seed, err)
	}
	if id == d.o.Key.ID() {
		raw.Close()
		return syncConn{}, errSelf
	}
	return syncConn{raw, id}, nil
}

var errSelf = errors.New("it is this node itself")

// stay synchronizes until the connection ends.
func (d *Discovery) stay(ctx context.Context, c contact, n int) error {
	conn, err := d.dial(ctx, c)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.attached[n].pin = conn.peer
	d.mu.Unlock()
	return d.syncer.Attach(ctx, conn.peer, conn.Conn)
}

// reconcile brings the sets together once.
func (d *Discovery) reconcile(ctx context.Context, c contact) error {
	conn, err := d.dial(ctx, c)
	if err != nil {
		return err
	}
	return d.syncer.Reconcile(ctx, conn.peer, conn.Conn)
}

// addressOf is where a reverse proxy says that it is.
func (d *Discovery) addressOf(id identity.ID) (netip.AddrPort, bool) {
	p, ok := d.set.ProxyOf(id, time.Now())
	if !ok {
		return netip.AddrPort{}, false
	}
	return p.Proxy.NodeAddress(), true
}
