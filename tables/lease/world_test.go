package lease_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// world is what a book lives in: a clock, a disk, and the ports of a host on
// which frps, guards and strangers get in each other's way.
type world struct {
	now    time.Time
	db     map[tables.ReservationKey]tables.Reservation
	disk   error // of the next commits
	guards map[port]*guard
	frps   map[port]lease.Online // what it listens on
	thief  map[port]bool

	commits  int
	guardErr error // of the next guards
	blind    bool  // mutation ignoreListeners: guards are taken no matter who listens
	onCommit func()
}

type port struct {
	proto tables.Protocol
	n     uint16
}

type guard struct {
	w  *world
	p  port
	id string
}

func (g *guard) Close() error {
	if g.w.guards[g.p] == g {
		delete(g.w.guards, g.p)
	}
	return nil
}

func newWorld() *world {
	return &world{
		now:    time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		db:     make(map[tables.ReservationKey]tables.Reservation),
		guards: make(map[port]*guard),
		frps:   make(map[port]lease.Online),
		thief:  make(map[port]bool),
	}
}

var proxyID = nodeID(99)

// options are those of a proxy in this world, opened on its disk.
func (w *world) options(pool tables.PortRange) lease.Options {
	return lease.Options{
		Proxy: proxyID,
		Sign:  sign, Verify: func(msg, sig []byte) bool { return hmac.Equal(sign(msg), sig) },
		Secret: lease.Secret("proxy secret"),
		Pool:   pool,
		Now:    func() time.Time { return w.now },
		Guard:  w.guard, Commit: w.commit,
		Reservations: slices.Collect(maps.Values(w.db)),
	}
}

// sign stands in for Ed25519, with a signature of the same length.
func sign(msg []byte) []byte {
	a := sha256.Sum256(append([]byte("a"), msg...))
	b := sha256.Sum256(append([]byte("b"), msg...))
	return append(a[:], b[:]...)
}

func (w *world) guard(proto tables.Protocol, n uint16, id string, key []byte) (io.Closer, error) {
	p := port{proto, n}
	if w.guardErr != nil {
		return nil, w.guardErr
	}
	if !hmac.Equal(key, lease.Secret("proxy secret").GuardKey(id)) {
		return nil, errors.New("guard with the key of another lease")
	}
	if w.guards[p] != nil {
		return nil, fmt.Errorf("guard on guard: %w", lease.ErrInUse)
	}
	if _, busy := w.frps[p]; !w.blind && (busy || w.thief[p]) {
		return nil, fmt.Errorf("bind: %w", lease.ErrInUse)
	}
	g := &guard{w, p, id}
	w.guards[p] = g
	return g, nil
}

func (w *world) commit(c tables.Batch) error {
	if w.onCommit != nil {
		w.onCommit()
	}
	if w.disk != nil {
		return w.disk
	}
	w.commits++
	for _, k := range c.DropReservations {
		delete(w.db, k)
	}
	for _, r := range c.Reservations {
		w.db[r.Key()] = r
	}
	return nil
}

// bind is frps opening a port after the gate said yes.
func (w *world) bind(o lease.Online) bool {
	p := port{o.Type, o.Port}
	if _, busy := w.frps[p]; busy || w.guards[p] != nil || w.thief[p] {
		return false
	}
	w.frps[p] = o
	return true
}

// listing is what frps's admin API says is online.
func (w *world) listing() []lease.Online { return slices.Collect(maps.Values(w.frps)) }

// died is the end of the p2prc process: its sockets close.
func (w *world) died() { clear(w.guards) }

func nodeID(n int) identity.ID {
	return identity.IDOf([]byte(fmt.Sprintf("public key of node number %08d", n)))
}

func open(t testing.TB, o lease.Options) *lease.Book {
	t.Helper()
	b, err := lease.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func request(id string, wants ...peerapi.Want) peerapi.ReserveRequest {
	return peerapi.ReserveRequest{ID: id, Name: "server", Wants: wants}
}

func want(name string) peerapi.Want { return peerapi.Want{Name: name, Type: tables.TCP} }

// must grants or ends the test.
func must(t testing.TB, b *lease.Book, node identity.ID, req peerapi.ReserveRequest) []peerapi.Lease {
	t.Helper()
	got, err := b.Reserve(node, req)
	if err != nil {
		t.Fatalf("reserving: %v", err)
	}
	return got
}

func admit(b *lease.Book, node identity.ID, l peerapi.Lease) error {
	return b.Admit(node, l.Name, l.Type, l.Port, l.ID)
}
