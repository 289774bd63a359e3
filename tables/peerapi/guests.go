package peerapi

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"p2prc/tables/identity"
)

// guest is one connection of a node whose key is proved. Until the service
// admits it, it remains a stranger: it counts as one, lives as short, and is
// sent away after one answer.
type guest struct {
	id     identity.ID
	from   netip.Addr
	conn   net.Conn // below TLS, for closing
	settle func()   // it is no stranger any more

	// admitted belongs to the goroutine that answers the connection's requests.
	admitted bool
}

// guests counts the connections of admitted nodes, in all and for each node.
// Their room is their own: no number of strangers takes it away.
type guests struct {
	max, maxEach int

	mu    sync.Mutex // guards what follows
	all   int
	nodes map[identity.ID][]*guest // the oldest first
}

func newGuests(limit, limitEach int) *guests {
	return &guests{max: limit, maxEach: limitEach, nodes: map[identity.ID][]*guest{}}
}

// admit gives g room. A node that has too many connections loses its oldest:
// after a change of its address that one is dead, whatever TCP still hopes.
func (gs *guests) admit(g *guest) error {
	if g.admitted {
		return nil
	}
	oldest, ok := gs.add(g)
	if !ok {
		return &Refusal{CodeUnavailable, "the reverse proxy has too many connections, try again"}
	}
	if oldest != nil {
		oldest.conn.Close()
	}
	g.admitted = true
	g.settle()
	return nil
}

func (gs *guests) add(g *guest) (oldest *guest, ok bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if own := gs.nodes[g.id]; len(own) >= gs.maxEach {
		oldest = own[0]
		gs.drop(oldest)
	}
	if gs.all >= gs.max {
		return oldest, false
	}
	gs.nodes[g.id] = append(gs.nodes[g.id], g)
	gs.all++
	return oldest, true
}

// leave takes back the room of a connection that ended, if it had any.
func (gs *guests) leave(g *guest) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.drop(g)
}

// drop is called with mu held.
func (gs *guests) drop(g *guest) {
	own := gs.nodes[g.id]
	i := slices.Index(own, g)
	if i < 0 {
		return
	}
	gs.all--
	if own = slices.Delete(own, i, i+1); len(own) == 0 {
		delete(gs.nodes, g.id)
		return
	}
	gs.nodes[g.id] = own
}

type guestKey struct{}

func withGuest(ctx context.Context, g *guest) context.Context {
	return context.WithValue(ctx, guestKey{}, g)
}

// guestOf is the guest whose request has this context. Every connection that
// reaches the API has one.
func guestOf(ctx context.Context) *guest { return ctx.Value(guestKey{}).(*guest) }
