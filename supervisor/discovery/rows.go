package discovery

import (
	"context"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/record"
)

const (
	// watched is how many changes may wait; beyond it everything is looked at.
	watched = 4096

	// goneAfter is how long a node that said no goodbye is shown as down before
	// it goes from the tables.
	goneAfter = time.Minute

	// rowsPause is the least time between two looks at what changed.
	rowsPause = 100 * time.Millisecond
)

// rows shows in the tables what the records amount to. It does so change by
// change: heartbeats come all the time, and most change nothing that is shown.
type rows struct {
	d     *Discovery
	now   func() time.Time
	again chan identity.ID // reverse proxies that were measured
	look  chan struct{}    // look at everything

	shown  map[tables.MappingKey]bool
	alive  map[identity.ID]bool      // reverse proxies that are shown, and whether they live
	silent map[identity.ID]time.Time // since when they do not
	lost   map[record.Tunnel]time.Time
}

func newRows(d *Discovery) *rows {
	return &rows{
		d: d, now: time.Now, again: make(chan identity.ID, watched), look: make(chan struct{}, 1),
		shown: make(map[tables.MappingKey]bool), alive: make(map[identity.ID]bool),
		silent: make(map[identity.ID]time.Time), lost: make(map[record.Tunnel]time.Time),
	}
}

func (r *rows) String() string { return "learned rows" }

// Serve follows the set until ctx ends.
func (r *rows) Serve(ctx context.Context) error {
	watch := r.d.set.Watch(watched)
	defer watch.Close()
	r.all()
	for {
		var due <-chan time.Time
		if len(r.silent)+len(r.lost) > 0 {
			due = time.After(goneAfter / 6)
		}
		touched := touched{proxies: map[identity.ID]bool{}, tunnels: map[record.Tunnel]bool{}}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.Wake():
		case id := <-r.again:
			touched.proxies[id] = true
		case <-r.look:
			r.all()
			continue
		case <-due:
			r.bury()
			continue
		}
		changes, lost := watch.Take()
		if lost || !touched.add(changes) {
			r.all()
		} else {
			r.some(touched)
		}
		// What comes in the meantime is looked at together.
		pause := time.NewTimer(rowsPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// touched is what some changes are about.
type touched struct {
	proxies map[identity.ID]bool
	tunnels map[record.Tunnel]bool
}

// add reports whether the changes are about single rows.
func (t *touched) add(changes []record.Change) bool {
	for _, c := range changes {
		switch tunnel, ok := c.Record.Tunnel(); {
		case ok:
			t.tunnels[tunnel] = true
		case c.Record.Subject == record.Everything:
			return false
		default:
			t.proxies[c.Record.Owner] = true
		}
	}
	return true
}

// all shows the whole set.
func (r *rows) all() {
	v := r.d.set.View(r.now())
	var l tables.Learned
	alive, shown := make(map[identity.ID]bool), make(map[tables.MappingKey]bool)
	for _, p := range v.Proxies {
		r.proxy(&l, p, alive)
	}
	for id := range r.alive {
		if _, ok := alive[id]; !ok {
			l.DropProxies = append(l.DropProxies, id)
			delete(r.silent, id)
		}
	}
	r.alive = alive
	for _, c := range v.Claims {
		r.claim(&l, c, shown)
	}
	for key := range r.shown {
		if !shown[key] {
			l.DropMappings = append(l.DropMappings, key)
		}
	}
	r.shown = shown
	r.d.o.Store.Learn(l)
}

// some shows single rows, and all that hangs on a reverse proxy that came or went.
func (r *rows) some(t touched) {
	now := r.now()
	var l tables.Learned
	for id := range t.proxies {
		was, shown := r.alive[id]
		p, known := r.d.set.ProxyOf(id, now)
		if known != shown || p.Alive() != was {
			r.all()
			return
		}
		if known {
			r.proxy(&l, p, r.alive)
		}
	}
	for tunnel := range t.tunnels {
		if c, known := r.d.set.ClaimOf(tunnel, now); known {
			r.claim(&l, c, r.shown)
			continue
		}
		key := tables.MappingKey{ProxyID: tunnel.Proxy, NodeID: tunnel.Node, Name: tunnel.Name}
		delete(r.shown, key)
		delete(r.lost, tunnel)
		l.DropMappings = append(l.DropMappings, key)
	}
	r.d.o.Store.Learn(l)
}

// proxy adds the row of a reverse proxy: what it says, and what came of dialling it.
func (r *rows) proxy(l *tables.Learned, p record.ProxyView, alive map[identity.ID]bool) {
	id := p.Record.Owner
	if id == r.d.o.Key.ID() {
		return
	}
	now := r.now()
	if p.Alive() {
		delete(r.silent, id)
	} else if since, ok := r.silent[id]; !ok {
		r.silent[id] = now
	} else if now.Sub(since) >= goneAfter {
		if _, shown := r.alive[id]; shown {
			l.DropProxies = append(l.DropProxies, id)
		}
		return
	}
	alive[id] = p.Alive()
	row := p.Row()
	row.Load = p.Load()
	r.d.meter.into(&row, p.Proxy.NodeAddress())
	l.Proxies = append(l.Proxies, row)
}

// claim adds the row of a mapping, unless this node is one of its two ends and
// knows better. That of a node which is simply not there any more goes after a
// while.
func (r *rows) claim(l *tables.Learned, c record.ClaimView, shown map[tables.MappingKey]bool) {
	row, tunnel := c.Row(), c.Claim.Tunnel()
	if self := r.d.o.Key.ID(); row.NodeID == self || row.ProxyID == self {
		return
	}
	key := row.Key()
	bySelf := c.State == tables.Up || c.DownBy == row.NodeID
	if bySelf {
		delete(r.lost, tunnel)
	} else if since, ok := r.lost[tunnel]; !ok {
		r.lost[tunnel] = r.now()
	} else if r.now().Sub(since) >= goneAfter {
		if r.shown[key] {
			l.DropMappings = append(l.DropMappings, key)
			delete(r.shown, key)
		}
		return
	}
	row.Standby = c.Claim.Role == record.Standby
	shown[key] = true
	l.Mappings = append(l.Mappings, row)
}

// bury lets rows go whose nodes have been away for long enough.
func (r *rows) bury() {
	now := r.now()
	for id, since := range r.silent {
		if _, shown := r.alive[id]; shown && now.Sub(since) >= goneAfter {
			r.all()
			return
		}
	}
	for t, since := range r.lost {
		if r.shown[tables.MappingKey{ProxyID: t.Proxy, NodeID: t.Node, Name: t.Name}] && now.Sub(since) >= goneAfter {
			r.all()
			return
		}
	}
}
