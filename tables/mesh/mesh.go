// Package mesh keeps the reverse proxies in touch: who of them is there, and
// the newest records at once, by hashicorp/memberlist over p2prc's own TLS. Not
// here: what a record says (it is bytes here), which one is newer, and how two
// nodes that were apart fetch what they missed (tables/record, tables/sync).
//
// Only reverse proxies belong to it: everyone can dial them. A server behind
// NAT would be probed through the very tunnel that the probes are about.
//
// A member is a claim of memberlist's and no proof: whoever leaves or comes is
// to be looked at, nobody's row changes for it.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
)

// MaxRecord bounds one record, and MaxDigest the digests of them all, in bytes.
const (
	MaxRecord = 2 << 10
	MaxDigest = 8 << 10
)

// Options describes a reverse proxy and what it shares. Key, Address, Vouched,
// Known, Deliver, Digest and Differ must be set. All functions answer from
// memory, and may be called from several goroutines at once.
type Options struct {
	Key     identity.Key
	Address netip.AddrPort // IPv4, where others dial this node: as in its own record
	Token   identity.Token // of a private mesh; none: the mesh is open

	// Record is this node's own proxy record. Everyone whom it talks to is shown
	// it first, and so can vouch for it.
	Record func() []byte
	// Vouched says whether a valid proxy record has this address for this node.
	// Nobody else is dialled, or let in.
	Vouched func(id identity.ID, at netip.AddrPort) bool
	// Known is every proxy that is vouched for: each is a way back in.
	Known func() []Seed

	// Dial opens a connection to an IPv4 address and port; nil: the system's. Its
	// net.Dialer's Control is where the addresses that are dialled are filtered.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Deliver takes a record that came in, and says whether it was news: only
	// news is passed on. It may keep the slice.
	Deliver func(raw []byte) (news bool)
	// Shorten spells a beat in fewer bytes, and Lengthen turns that back; false:
	// it is none. With 50 proxies beats are most of what an idle mesh says. Nil:
	// beats travel as they are.
	Shorten, Lengthen func(raw []byte) ([]byte, bool)
	// Digest tells what this node knows, in few bytes; when that of another
	// member is not the same, Differ is called, to fetch what is missing there.
	// It is better without the beats, which differ at every moment.
	Digest func() []byte
	Differ func(peer identity.ID)

	// Event hears who comes and goes. It and Differ are called one at a time.
	Event func(Event) // nil: nobody hears

	Log *slog.Logger // nil: none
}

// Seed is a node and where it is dialled.
type Seed struct {
	ID identity.ID
	At netip.AddrPort
}

// String is the seed as memberlist reads it.
func (s Seed) String() string { return string(s.ID) + "/" + s.At.String() }

// Event says that a member came or went. Each is no more than a reason to look.
type Event struct {
	Kind EventKind
	Seed
}

// EventKind is what happened to a member.
type EventKind string

// What happens to members.
const (
	Joined EventKind = "joined"
	Left   EventKind = "left" // it said so, or it is out of everyone's reach
	// Lost is a member whose connection to this node broke, and that could not be
	// dialled again: killed, most likely. Left follows, or it is heard of again.
	Lost EventKind = "lost"
)

// Mesh is this node's part of the mesh.
type Mesh struct {
	o              Options
	pace           pace
	records, beats *memberlist.TransmitLimitedQueue // on their way out
	rounds         rounds
	seen           *seen
	wake           chan struct{} // the loop that joins looks again
	ready          chan struct{} // closed once Serve has begun for the first time
	begun          sync.Once     // closes ready

	mu        sync.Mutex // guards what follows
	transport *transport // nil while Serve does not run
	members   map[identity.ID]netip.AddrPort
	seeds     map[Seed]bool // asked for by Join
	compared  compared
	strangers map[Seed]time.Time // whom others have as members, nobody vouches for them here
	notices   chan func()        // what is told to the owner, in order
}

// pace is how fast things go; tests go faster.
type pace struct {
	first, most time.Duration            // between attempts to join
	soon        time.Duration            // for a proxy that others may bring along
	tune        func(*memberlist.Config) // nil: as it is
	silence     time.Duration            // without a byte, a connection is dead after it
}

var usualPace = pace{first: 10 * time.Second, most: 5 * time.Minute, soon: time.Second, silence: 90 * time.Second}

// maxNotices is how many events may wait for a slow owner.
const maxNotices = 4096

// New makes a mesh of one. Serve begins.
func New(o Options) (*Mesh, error) {
	switch {
	case !o.Address.Addr().Is4() || o.Address.Port() == 0:
		return nil, fmt.Errorf("joining the mesh: %s is not an address that others can dial", o.Address)
	case o.Vouched == nil || o.Known == nil || o.Deliver == nil || o.Digest == nil || o.Differ == nil:
		return nil, errors.New("joining the mesh: an option is missing")
	}
	if o.Record == nil {
		o.Record = func() []byte { return nil }
	}
	if o.Shorten == nil || o.Lengthen == nil {
		none := func([]byte) ([]byte, bool) { return nil, false }
		o.Shorten, o.Lengthen = none, none
	}
	if o.Event == nil {
		o.Event = func(Event) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mesh{
		o: o, pace: usualPace, seen: newSeen(),
		wake:    make(chan struct{}, 1),
		ready:   make(chan struct{}),
		members: map[identity.ID]netip.AddrPort{},
		seeds:   map[Seed]bool{}, strangers: map[Seed]time.Time{},
	}
	m.records = newQueue(m.recordTransmits)
	m.beats = newQueue(func() int { return beatTransmits })
	return m, nil
}

// String names the mesh in the log of whoever supervises it.
func (m *Mesh) String() string { return "mesh" }

// Ready is closed once Serve has begun for the first time: from then on Handle
// answers.
func (m *Mesh) Ready() <-chan struct{} { return m.ready }

// Serve takes part until ctx ends, says goodbye, and returns when nothing of it
// is left. It can be called again after that.
func (m *Mesh) Serve(ctx context.Context) error {
	t := newTransport(m)
	m.begin(t)
	list, err := memberlist.Create(m.config(t))
	if err != nil {
		m.end()
		t.stop()
		return fmt.Errorf("joining the mesh: %w", err)
	}
	var teller, joins sync.WaitGroup
	quiet := make(chan struct{})
	teller.Go(func() { m.tell(quiet) })
	m.rejoin(ctx, list, t, &joins)

	if err := list.Leave(leaveWait); err != nil {
		m.o.Log.Debug("saying goodbye to the mesh", "err", err)
	}
	t.drain(drainWait)
	m.end()
	t.stop()
	joins.Wait()
	err = list.Shutdown()
	close(quiet)
	teller.Wait()
	return err
}

// How long a goodbye may take: a few rounds of gossip, then what is queued.
const (
	leaveWait = 2 * time.Second
	drainWait = 500 * time.Millisecond
)

func (m *Mesh) begin(t *transport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.transport = t
	m.begun.Do(func() { close(m.ready) })
	m.notices = make(chan func(), maxNotices)
	clear(m.members)
	clear(m.strangers)
	m.compared = compared{}
}

// end makes what memberlist still calls come to nothing.
func (m *Mesh) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.transport, m.notices = nil, nil
	clear(m.members)
}

// Broadcast sends a record to everyone in the mesh.
func (m *Mesh) Broadcast(raw []byte) { m.send(kindRecord, raw) }

// Beat sends a record that the next one will soon make void, to nearly everyone
// and for less.
func (m *Mesh) Beat(raw []byte) {
	if short, ok := m.o.Shorten(raw); ok {
		m.send(kindShort, short)
		return
	}
	m.send(kindBeat, raw)
}

func (m *Mesh) send(kind byte, b []byte) {
	if len(b) == 0 || len(b) > MaxRecord {
		m.o.Log.Warn("a record does not fit the mesh", "err", fmt.Errorf("%d bytes", len(b)))
		return
	}
	m.seen.add(b)
	queue := m.beats
	if kind == kindRecord {
		queue = m.records
	}
	queue.QueueBroadcast(broadcast(append([]byte{kind}, b...)))
	queue.Prune(maxQueued)
}

// Join makes the mesh try these proxies now. Like all others they have to be
// vouched for.
func (m *Mesh) Join(seeds []Seed) {
	m.mu.Lock()
	for _, s := range seeds {
		m.seeds[s] = true
	}
	m.mu.Unlock()
	m.look()
}

// Learned says that records came from elsewhere, by sync say, and that more
// proxies may be vouched for than a moment ago.
func (m *Mesh) Learned() { m.look() }

func (m *Mesh) look() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Members are the others in the mesh, sorted by ID.
func (m *Mesh) Members() []Seed {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Seed, 0, len(m.members))
	for id, at := range m.members {
		all = append(all, Seed{id, at})
	}
	slices.SortFunc(all, func(a, b Seed) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Heard is when the last packet came straight from a member; zero: none did
// lately. A process that is gone sends none.
func (m *Mesh) Heard(id identity.ID) time.Time {
	m.mu.Lock()
	t := m.transport
	m.mu.Unlock()
	if t == nil {
		return time.Time{}
	}
	return t.heard(id)
}

// size counts this node too.
func (m *Mesh) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.members) + 1
}

// has reports whether that is a member.
func (m *Mesh) has(s Seed) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.members[s.ID]
	return ok && at == s.At
}

// notify leaves something to be told. It never blocks: memberlist calls it with
// its lock held.
func (m *Mesh) notify(what func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.notices == nil {
		return
	}
	select {
	case m.notices <- what:
	default:
		m.o.Log.Warn("the mesh has more news than anyone takes")
	}
}

// tell hands the notices on, one at a time.
func (m *Mesh) tell(quiet <-chan struct{}) {
	m.mu.Lock()
	notices := m.notices
	m.mu.Unlock()
	for {
		select {
		case what := <-notices:
			what()
		case <-quiet:
			return
		}
	}
}
