package supervisor

import (
	"sync"

	"p2prc/tables"
)

// board is how every mapping stands at every reverse proxy, for those who wait
// for one. Attachments post to it after they have committed.
type board struct {
	mu      sync.Mutex // guards what follows
	posts   map[*attachment]map[string]*post
	took    map[*attachment]uint64 // the version of the list that it has taken over
	changed chan struct{}          // closed at the next change
}

// post is one mapping at one reverse proxy.
type post struct {
	Map
	row     tables.Mapping
	kind    Kind // why it is not up
	refused bool // by the proxy: waiting alone will not help
	traffic Traffic
}

func newBoard() *board {
	return &board{
		posts: make(map[*attachment]map[string]*post), took: make(map[*attachment]uint64), changed: make(chan struct{}),
	}
}

// next is closed when something changes. Ask for it before looking.
func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// tell wakes those who wait; the caller holds mu.
func (b *board) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// wake makes those who wait look again.
func (b *board) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tell()
}

// put takes the posts of mappings that have changed.
func (b *board) put(a *attachment, posts []*post) {
	if len(posts) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.posts[a] == nil {
		b.posts[a] = make(map[string]*post)
	}
	for _, p := range posts {
		b.posts[a][p.Name] = p
	}
	b.tell()
}

// take notes that the attachment has no other mappings than those of the
// version any more.
func (b *board) take(a *attachment, version uint64, gone []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range gone {
		delete(b.posts[a], name)
	}
	b.took[a] = version
	b.tell()
}

// leave forgets an attachment that has ended.
func (b *board) leave(a *attachment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.posts, a)
	delete(b.took, a)
	b.tell()
}

// passed reports whether every attachment has taken the version over.
func (b *board) passed(version uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.took {
		if v < version {
			return false
		}
	}
	return true
}

// look finds how a mapping stands: where it is up and active, else where it
// is up at all, else why not. nil: nobody has looked at it yet.
func (b *board) look(m Map) *post {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.best(m.Name, func(p *post) bool { return p.Map == m })
}

// best is look under mu.
func (b *board) best(name string, fits func(*post) bool) *post {
	var best *post
	for _, posts := range b.posts {
		p := posts[name]
		if p != nil && fits(p) && (best == nil || p.rank() > best.rank()) {
			best = p
		}
	}
	return best
}

// up means that a stranger can dial it, and should.
func (p *post) up() bool { return p != nil && p.row.State == tables.Up && !p.row.Standby }

func (p *post) rank() int {
	switch {
	case p.up():
		return 3
	case !p.row.Standby:
		return 2
	case p.row.State == tables.Up:
		return 1
	}
	return 0
}
