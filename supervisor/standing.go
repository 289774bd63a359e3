package supervisor

import (
	"slices"
	"sync"
	"time"

	"p2prc/tables"
)

// switchBack is ConnectOptions.SwitchBack where nothing else is said.
const switchBack = time.Minute

// standing says which attachment is the active one, whose addresses clients
// should dial first. The others stand by: their mappings are reserved, running
// and proved as well, so changing over is a matter of saying so.
type standing struct {
	stable time.Duration // ConnectOptions.SwitchBack

	mu     sync.Mutex // guards what follows
	ranked []*attachment
	active *attachment
	chosen bool                      // active works, or worked; else it is only the first in rank
	usable map[*attachment]time.Time // since when without a break; those that do not work are missing
	// useless is the same of those that do not work.
	useless map[*attachment]time.Time
	lent    map[string]uint16 // by name, the port that some proxy lends: the others are asked for the same
}

// add takes in an attachment, the last in rank. The first is active until
// something is known.
func (st *standing) add(a *attachment) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.usable == nil {
		st.usable, st.useless = make(map[*attachment]time.Time), make(map[*attachment]time.Time)
		st.lent = make(map[string]uint16)
	}
	st.ranked = append(st.ranked, a)
	st.useless[a] = time.Now()
	if st.active == nil {
		st.active = a
	}
}

// drop takes one out, and reports whether another one is active thereby.
func (st *standing) drop(a *attachment) (changed bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ranked = slices.DeleteFunc(st.ranked, func(o *attachment) bool { return o == a })
	delete(st.usable, a)
	delete(st.useless, a)
	if st.active != a {
		return false
	}
	st.active, st.chosen = nil, false
	if len(st.ranked) > 0 {
		st.active = st.ranked[0]
		st.active = st.best(time.Now())
	}
	return st.active != nil
}

// uselessSince is how long an attachment has not worked; 0: it does.
func (st *standing) uselessSince(a *attachment) time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	if since, ok := st.useless[a]; ok {
		return time.Since(since)
	}
	return 0
}

// settle takes note of whether an attachment works, and reports whether it
// stands by. changed: another attachment is the active one from now on.
func (st *standing) settle(a *attachment, works bool, now time.Time) (standby, changed bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	since, not := st.usable, st.useless
	if !works {
		since, not = not, since
	}
	delete(not, a)
	if _, ok := since[a]; !ok {
		since[a] = now
	}
	if next := st.best(now); next != st.active {
		st.active, changed = next, true
	}
	_, ok := st.usable[st.active]
	st.chosen = st.chosen || ok
	return a != st.active, changed
}

// best is the first in rank that works, with respect for the one that is
// active: it is only left for one that has been stable for long.
func (st *standing) best(now time.Time) *attachment {
	_, holds := st.usable[st.active]
	for _, a := range st.ranked {
		since, ok := st.usable[a]
		switch {
		case a == st.active && holds:
			return a
		case !ok:
		case !holds && (st.chosen || now.Sub(a.s.started) > settleFor || a == st.ranked[0]):
			return a
		case holds && now.Sub(since) >= st.stable:
			return a
		}
	}
	return st.active
}

// all are the attachments, the active one first.
func (st *standing) all() []*attachment {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := slices.Clone(st.ranked)
	if i := slices.Index(list, st.active); i > 0 {
		list = append(append([]*attachment{st.active}, list[:i]...), list[i+1:]...)
	}
	return list
}

// standsBy reports whether another attachment is the active one.
func (st *standing) standsBy(a *attachment) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.active != nil && st.active != a
}

// lend notes which port a proxy lends to a mapping.
func (st *standing) lend(m *mapping) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, ok := st.lent[m.Name]; !ok && !m.Type.ByName() {
		st.lent[m.Name] = m.lease.Port
	}
}

// lentElsewhere is the port that another proxy lends to the mapping, if any.
func (st *standing) lentElsewhere(name string) []uint16 {
	st.mu.Lock()
	defer st.mu.Unlock()
	if port, ok := st.lent[name]; ok {
		return []uint16{port}
	}
	return nil
}

// settle tells the standing how this attachment is, and makes the others look
// when that changed which one is active.
func (a *attachment) settle(works bool, now time.Time) (standby bool) {
	standby, changed := a.s.standing.settle(a, works, now)
	if changed {
		ranked := a.s.standing.all()
		a.s.log.Warn("another reverse proxy is the active one from now on", "proxy", ranked[0].proxy())
		for _, o := range ranked {
			if o != a {
				o.poke()
			}
		}
	}
	return standby
}

// works reports whether strangers get through to this node by this proxy.
func (a *attachment) works(now time.Time, link string) bool {
	if len(a.maps) == 0 {
		return false
	}
	state, _ := a.judge(now, a.maps[0], link)
	return state == tables.Up
}
