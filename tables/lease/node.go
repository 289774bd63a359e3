package lease

import (
	"cmp"
	"slices"

	"p2prc/tables/identity"
)

// Of is every reservation of one node, sorted by name.
func (b *Book) Of(node identity.ID) []Status {
	now := b.o.Now()
	b.mu.Lock()
	of := make([]Status, 0, len(b.nodes[node]))
	for _, e := range b.nodes[node] {
		of = append(of, e.status(now))
	}
	b.mu.Unlock()
	slices.SortFunc(of, func(x, y Status) int { return cmp.Compare(x.Name, y.Name) })
	return of
}

// Close lets go of every guard: the process ends. The reservations are on disk.
func (b *Book) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.slots {
		e.letGo()
	}
}
