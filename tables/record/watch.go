package record

import (
	"sync"

	"p2prc/tables/identity"
)

// Change is one thing that happened to a set.
type Change struct {
	Record *Record
	Void   bool        // it expired, or is shunned; else it entered
	From   identity.ID // who sent it; empty: nobody in particular
}

// Watch collects the changes of a set for one reader. A reader that does not
// keep up loses them all, and is told so.
type Watch struct {
	s     *Set
	limit int
	wake  chan struct{}

	mu      sync.Mutex // guards what follows
	changes []Change
	lost    bool
}

// Watch begins to collect, at most limit changes at a time. Close ends it.
func (s *Set) Watch(limit int) *Watch {
	w := &Watch{s: s, limit: limit, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = struct{}{}
	return w
}

// Wake is sent to when there is something to take.
func (w *Watch) Wake() <-chan struct{} { return w.wake }

// Take is the changes since the last Take, in order. Lost means that there
// were more than the limit: none is kept then, look at the whole set.
func (w *Watch) Take() (changes []Change, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes, lost = w.changes, w.lost
	w.changes, w.lost = nil, false
	return changes, lost
}

// Close ends the collecting.
func (w *Watch) Close() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.s.watchers, w)
}

// tell is called with Set.mu held: the changes keep their order.
func (s *Set) tell(c Change) {
	for w := range s.watchers {
		w.add(c)
	}
}

func (w *Watch) add(c Change) {
	w.mu.Lock()
	switch {
	case w.lost:
	case len(w.changes) >= w.limit:
		w.changes, w.lost = nil, true
	default:
		w.changes = append(w.changes, c)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
