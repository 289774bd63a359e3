package discovery

import (
	"context"
	"sync/atomic"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/record"
)

const (
	// watched is how many changes may wait; beyond it everything is looked at.
	watched = 4096

	// goneAfter is how long a node that said no goodbye is shown as down before
	// it goes from the tables: within a minute after it died, of which up to 16 s
	// pass before that is found out.
	goneAfter = 36 * time.Second
	buryEvery = 4 * time.Second

	// rowsPause follows a look at everything, or at fewChanges or more: what comes
	// meanwhile is looked at together. A heartbeat now and then is not worth a timer.
	rowsPause  = 100 * time.Millisecond
	fewChanges = 32
)

// rows shows in the tables what the records amount to. It does so change by
// change: heartbeats come all the time, and most change nothing that is shown.
type rows struct {
	d     *Discovery
	now   func() time.Time
	again chan identity.ID   // reverse proxies that were measured
	look  chan chan struct{} // look at everything, write it, and close that
	serve atomic.Bool        // Serve runs

	shown  map[tables.MappingKey]bool
	alive  map[identity.ID]bool      // reverse proxies that are shown, and whether their mappings may be up
	silent map[identity.ID]time.Time // since when they do not
	lost   map[record.Tunnel]time.Time
	once   bool // nobody looks before or after, and others were just asked
}

func newRows(d *Discovery) *rows {
	return &rows{
		d: d, now: time.Now, again: make(chan identity.ID, watched), look: make(chan chan struct{}),
		shown: make(map[tables.MappingKey]bool), alive: make(map[identity.ID]bool),
		silent: make(map[identity.ID]time.Time), lost: make(map[record.Tunnel]time.Time),
	}
}

func (r *rows) String() string { return "learned rows" }

// Serve follows the set until ctx ends.
func (r *rows) Serve(ctx context.Context) error {
	watch := r.d.set.Watch(watched)
	defer watch.Close()
	r.serve.Store(true)
	defer r.serve.Store(false)
	r.all()
	// Not a timer that each change sets anew: heartbeats come more often than it ends.
	due := time.NewTicker(buryEvery)
	defer due.Stop()
	for {
		touched := touched{proxies: map[identity.ID]bool{}, tunnels: map[record.Tunnel]bool{}}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.Wake():
		case id := <-r.again:
			touched.proxies[id] = true
		case done := <-r.look:
			r.all()
			r.d.o.Store.Flush()
			close(done)
			continue
		case <-due.C:
			r.bury()
			continue
		}
		changes, lost := watch.Take()
		if lost || !touched.add(changes) || !r.some(touched) {
			r.all()
		} else if len(changes) < fewChanges {
			continue
		}
		pause := time.NewTimer(rowsPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// lookNow returns once the files have what is known by now, or ctx ends. Where
// nobody serves, Show follows.
func (r *rows) lookNow(ctx context.Context) {
	if !r.serve.Load() {
		return
	}
	done := make(chan struct{})
	select {
	case r.look <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
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
	silent, lost := r.silent, r.lost // of those that are told of, also after they went from the tables
	r.silent, r.lost = make(map[identity.ID]time.Time), make(map[record.Tunnel]time.Time)
	alive, shown := make(map[identity.ID]bool), make(map[tables.MappingKey]bool)
	for _, p := range v.Proxies {
		if since, ok := silent[p.Record.Owner]; ok {
			r.silent[p.Record.Owner] = since
		}
		r.proxy(&l, p, alive)
	}
	for id := range r.alive {
		if _, ok := alive[id]; !ok {
			l.DropProxies = append(l.DropProxies, id)
		}
	}
	r.alive = alive
	for _, c := range v.Claims {
		if since, ok := lost[c.Claim.Tunnel()]; ok {
			r.lost[c.Claim.Tunnel()] = since
		}
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

// some shows single rows. It is false, and has shown nothing, where a reverse proxy
// came or went: all that hangs on it changes then.
func (r *rows) some(t touched) bool {
	now := r.now()
	var l tables.Learned
	for id := range t.proxies {
		if id == r.d.o.Key.ID() {
			continue
		}
		was, shown := r.alive[id]
		p, known := r.d.set.ProxyOf(id, now)
		if known != shown || r.carries(p) != was {
			return false
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
	return true
}

// proxy adds the row of a reverse proxy: what it says, and what came of dialling it.
func (r *rows) proxy(l *tables.Learned, p record.ProxyView, alive map[identity.ID]bool) {
	id := p.Record.Owner
	if id == r.d.o.Key.ID() {
		return
	}
	if p.Alive() {
		delete(r.silent, id)
	} else if r.over(r.since(p)) {
		if _, shown := r.alive[id]; shown {
			l.DropProxies = append(l.DropProxies, id)
		}
		return
	}
	row := p.Row()
	row.Load = p.Load()
	r.d.meter.into(&row, p)
	alive[id] = r.carries(p)
	l.Proxies = append(l.Proxies, row)
}

// carries reports whether a reverse proxy lives, as it says itself and as far as
// can be told from here.
func (r *rows) carries(p record.ProxyView) bool {
	return p.Alive() && r.d.meter.broken(p.Record.Owner) == nil
}

// over reports whether a node has been away for so long that it goes from the tables.
func (r *rows) over(since time.Time) bool { return r.now().Sub(since) >= goneAfter }

// since is when a reverse proxy was found to be silent, or before that out of
// reach. Who asks only once gets to know those that live.
func (r *rows) since(p record.ProxyView) time.Time {
	since, ok := r.silent[p.Record.Owner]
	if !ok && !r.once {
		since = r.now()
		if broke := r.d.meter.broke(p.Record.Owner); !broke.IsZero() && broke.Before(since) {
			since = broke
		}
	}
	r.silent[p.Record.Owner] = since
	return since
}

// claim adds the row of a mapping, unless this node is one of its two ends and
// knows better. That of a node which is simply not there any more goes after a
// while, that at a reverse proxy with this one.
func (r *rows) claim(l *tables.Learned, c record.ClaimView, shown map[tables.MappingKey]bool) {
	row := c.Row()
	if self := r.d.o.Key.ID(); row.NodeID == self || row.ProxyID == self {
		return
	}
	_, there := r.alive[row.ProxyID]
	if !there || r.isLost(c) {
		if key := row.Key(); r.shown[key] {
			l.DropMappings = append(l.DropMappings, key)
			delete(r.shown, key)
		}
		return
	}
	row.Standby = c.Claim.Role == record.Standby
	if err := r.d.meter.broken(row.ProxyID); err != nil && row.State == tables.Up {
		row.State, row.Reason = tables.Down, "its reverse proxy does not answer from here: "+err.Error()
	}
	shown[row.Key()] = true
	l.Mappings = append(l.Mappings, row)
}

// isLost reports whether the node of a mapping has been away for long: others
// say that it is down, and not the node itself.
func (r *rows) isLost(c record.ClaimView) bool {
	tunnel := c.Claim.Tunnel()
	if c.State == tables.Up || c.DownBy == tunnel.Node {
		delete(r.lost, tunnel)
		return false
	}
	since, ok := r.lost[tunnel]
	if now := r.now(); !ok {
		since = now
		if c.DownBy != "" && c.Since.Before(now) {
			since = c.Since
		}
		r.lost[tunnel] = since
	}
	return r.over(since)
}

// bury lets rows go whose nodes have been away for long enough.
func (r *rows) bury() {
	for id, since := range r.silent {
		if _, shown := r.alive[id]; shown && r.over(since) {
			r.all()
			return
		}
	}
	for t, since := range r.lost {
		if r.shown[tables.MappingKey{ProxyID: t.Proxy, NodeID: t.Node, Name: t.Name}] && r.over(since) {
			r.all()
			return
		}
	}
}
