package supervisor

import (
	"sync"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// hubBacklog is how many events a node may be behind; what comes on top is
// lost to it, and its next report finds out anyway.
const hubBacklog = 64

// hub passes events of the reverse proxy to the nodes that listen.
type hub struct {
	mu   sync.Mutex // guards subs
	subs map[chan peerapi.Event]identity.ID
}

func newHub() *hub { return &hub{subs: make(map[chan peerapi.Event]identity.ID)} }

func (h *hub) subscribe(id identity.ID) (events <-chan peerapi.Event, cancel func()) {
	c := make(chan peerapi.Event, hubBacklog)
	h.mu.Lock()
	h.subs[c] = id
	h.mu.Unlock()
	return c, func() {
		h.mu.Lock()
		delete(h.subs, c)
		h.mu.Unlock()
	}
}

// send tells one node.
func (h *hub) send(id identity.ID, ev peerapi.Event) {
	h.each(ev, func(to identity.ID) bool { return to == id })
}

// broadcast tells every node.
func (h *hub) broadcast(ev peerapi.Event) {
	h.each(ev, func(identity.ID) bool { return true })
}

func (h *hub) each(ev peerapi.Event, meant func(identity.ID) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, id := range h.subs {
		if !meant(id) {
			continue
		}
		select {
		case c <- ev:
		default:
		}
	}
}
