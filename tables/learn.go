package tables

import (
	"errors"

	"p2prc/tables/identity"
)

// Learned is what other nodes said of theirs.
type Learned struct {
	Mappings     []Mapping
	DropMappings []MappingKey
	Proxies      []ReverseProxy
	DropProxies  []identity.ID
}

// Learn shows rows of other nodes in the tables, marked as learned; a row of
// this node's own under the same key goes before them. They are in memory at
// once, and in the table files within a second of Serve, but where only what was
// measured has changed: then within five. They are not kept: a store that is
// opened anew has none. The views believe them while a p2prc runs
// here, and for a short time after.
func (s *Store) Learn(l Learned) {
	mappings, errM := learnedEntries(mappingKind, l.Mappings, func(m *Mapping) { m.Learned = true })
	proxies, errP := learnedEntries(proxyKind, l.Proxies, func(p *ReverseProxy) { p.Learned = true })
	s.mu.Lock()
	newsM, leftM := s.mappings.learn(mappings, l.DropMappings, maxRows)
	newsP, leftP := s.proxies.learn(proxies, l.DropProxies, maxRows)
	s.mu.Unlock()
	switch max(newsM, newsP) {
	case nothing:
	case timesOnly:
		s.stamp()
	default:
		s.wake()
	}
	if left := leftM + leftP; left > 0 {
		s.log.Warn("there is no room for rows of other nodes", "row", left)
	}
	if err := errors.Join(errM, errP); err != nil {
		s.log.Debug("a row of another node was not taken over", "err", err)
	}
}

func learnedEntries[K comparable, R any](k *kind[K, R], rows []R, mark func(*R)) ([]*entry[R], error) {
	var errs []error
	entries := make([]*entry[R], 0, len(rows))
	for _, r := range rows {
		mark(&r)
		r, err := k.check(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entries = append(entries, &entry[R]{row: r})
	}
	return entries, errors.Join(errs...)
}

// learn takes over what other nodes said: rows of theirs, and which are gone.
// Beyond limit rows in all, new ones are left out and counted.
func (t *table[K, R]) learn(rows []*entry[R], gone []K, limit int) (what news, left int) {
	for _, key := range gone {
		old, known := t.learned[key]
		delete(t.learned, key)
		if _, own := t.rows[key]; known && !own {
			t.touch(old)
			t.hide(old)
			what = rowNews
		}
	}
	for _, e := range rows {
		key := t.key(e.row)
		old, known := t.learned[key]
		switch {
		case known && old.same(e):
			continue
		case !known && len(t.rows)+len(t.learned) >= limit:
			left++
			continue
		}
		t.learned[key] = e
		if _, own := t.rows[key]; !own {
			t.touch(old)
			t.show(e)
			what = max(what, t.newsOf(old, e))
		}
	}
	return what, left
}

// newsOf is what a learned row says that the one before did not; nil is none.
func (t *table[K, R]) newsOf(old, now *entry[R]) news {
	if old == nil {
		return rowNews
	}
	was, is := old.row, now.row
	before, after := t.proof(&was), t.proof(&is)
	if *before.state != *after.state || *before.reason != *after.reason {
		return rowNews
	}
	if noted, same := t.note(was, is); same && (&entry[R]{row: noted}).same(now) {
		return timesOnly
	}
	return rowNews
}
