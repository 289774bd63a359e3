// Package lease is a reverse proxy's book of who may listen on which of its
// ports: it picks the ports, holds them until frps opens them, and answers the
// gate. Not here: how a port is held and proved (supervisor/proof), what frps
// says of itself (admin), and where reservations are written (tables).
//
// A port goes FREE -> RESERVED (Hold) -> ACTIVE (TTL, from the first renewal
// on) -> released or expired -> FREE. The reservation outlives the lease: the
// same node and name get the same port again. Whoever else gets a port waits
// until its last lease has been over for Quarantine.
package lease

import (
	"errors"
	"io"
	"sync"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// The lengths of a lease's life.
const (
	Hold       = 30 * time.Second // from a grant, or the gate's yes, to the first renewal
	TTL        = 10 * time.Minute // from a renewal on
	Quarantine = time.Minute      // from the end of a lease until another node may get the port
	Keep       = 90 * 24 * time.Hour
	KeepOpen   = 24 * time.Hour // Keep, on a proxy that lends to anyone
)

// The most ports one node can have, where nothing else is said. Reservations
// that it does nothing with count until it needs the room.
const (
	MaxPorts     = 1024
	MaxPortsOpen = 16 // on a proxy that lends to anyone
)

const (
	// grace is what a lease has left at least after a restart of this process:
	// the wall clock may have been set while nobody was there to count.
	grace = 30 * time.Second

	// settle is how long after the gate's yes a listing may still miss a proxy
	// that is there. frps binds within milliseconds (0.70.1: 2-5 ms from reload
	// to running); a listing of 10,000 proxies takes up to 0.2 s.
	settle = 5 * time.Second

	// shun is how long a port that was stolen is not offered to the name that
	// lost it: the thief is likely to be there still, or to come back.
	shun = time.Hour
)

// ErrInUse is what Options.Guard's error is when somebody else has the port.
// Any other error says nothing about the port, and no port is given up for it.
var ErrInUse = errors.New("port is in use")

// Options is what a Book needs. Sign, Verify, Guard, Commit and a Pool must be set.
type Options struct {
	Proxy  identity.ID                // of this reverse proxy
	Sign   func(msg []byte) []byte    // with the node key
	Verify func(msg, sig []byte) bool // what Sign made
	Secret Secret                     // guard keys are derived from it
	Pool   tables.PortRange
	Taken  []uint16 // ports of the pool that are not to be lent: frps's own, the node port
	Open   bool     // lends to anyone: MaxPortsOpen and KeepOpen hold

	// HTTPPort and HTTPSPort are frps's own, on which it tells mappings apart by
	// domain. Zero: no domains are lent for that protocol.
	HTTPPort, HTTPSPort uint16

	// MaxPorts is the most ports one node can have. Zero: MaxPorts or MaxPortsOpen.
	MaxPorts int
	Now      func() time.Time

	// Guard takes a port and answers witnesses on it under the lease ID until
	// it is closed, after which the port is free at once. It is called with the
	// book locked, as is Close: both must be a few system calls that cannot block.
	Guard func(proto tables.Protocol, port uint16, leaseID string, key []byte) (io.Closer, error)

	// Commit makes changes durable; nobody is told of them before it returned.
	Commit func(tables.Batch) error

	Reservations []tables.Reservation // as committed so far
}

// Book is the reverse proxy's side of every lease. All methods may be called
// at the same time.
type Book struct {
	o        Options // without Secret
	guardKey func(leaseID string) []byte
	taken    map[uint16]bool
	maxPorts int
	keep     time.Duration

	// change is held by one change at a time, through its Commit, so that what
	// is on disk and what is in memory come in the same order. The gate never
	// takes it: it must answer while a disk is slow.
	change sync.Mutex

	// mu guards everything below. Guards are taken and closed under it, one at
	// a time: who holds a port and what the book says of it must never differ,
	// least of all to the gate. The maps nodes, slots, leases, resting and moved
	// change only while change is held too, so whoever holds that may read them.
	mu       sync.Mutex
	nodes    map[identity.ID]map[string]*entry
	slots    map[slot]*entry
	leases   map[string]*entry // by lease ID
	resting  map[slot]rest
	moved    map[identity.ID][]string // the last requests that gave up a port
	online   map[slot]Online          // as frps last listed them
	observed time.Time                // when that was asked; zero: never since New
	cursor   map[tables.Protocol]int  // where the search for a never-used port goes on
}

// New opens the book on what was committed before. Call FRPSGone or Observe
// next: until then it does not know which ports frps holds.
func New(o Options) (*Book, error) {
	switch {
	case o.Sign == nil, o.Verify == nil, o.Guard == nil, o.Commit == nil:
		return nil, errors.New("opening the lease book: Sign, Verify, Guard and Commit must be set")
	case o.Pool.Len() == 0:
		return nil, errors.New("opening the lease book: the pool has no port")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &Book{
		o:        o,
		guardKey: o.Secret.GuardKey,
		taken:    make(map[uint16]bool),
		maxPorts: MaxPorts,
		keep:     Keep,
		nodes:    make(map[identity.ID]map[string]*entry),
		slots:    make(map[slot]*entry),
		leases:   make(map[string]*entry),
		resting:  make(map[slot]rest),
		moved:    make(map[identity.ID][]string),
		online:   make(map[slot]Online),
		cursor:   make(map[tables.Protocol]int),
	}
	b.o.Secret, b.o.Reservations = nil, nil
	for _, p := range o.Taken {
		b.taken[p] = true
	}
	if o.Open {
		b.maxPorts, b.keep = MaxPortsOpen, KeepOpen
	}
	if o.MaxPorts > 0 {
		b.maxPorts = o.MaxPorts
	}
	now := o.Now()
	for _, r := range o.Reservations {
		b.load(r, now)
	}
	return b, nil
}

// load takes in what was committed by an earlier process. Its leases end when
// they said, but not before grace has passed and not later than a new one
// would: the wall clock may have been set either way since.
func (b *Book) load(r tables.Reservation, now time.Time) {
	if p := b.namePort(r.Type); r.Domain != "" && p != r.Port {
		r.LeaseID, r.LeaseUntil = "", time.Time{} // its node has to hear of the new port
		if p != 0 {
			r.Port = p
		}
	}
	e := &entry{row: r, end: now}
	if !r.LeaseUntil.IsZero() {
		left := r.LeaseUntil.Sub(now.Round(0))
		e.end = now.Add(min(max(left, grace), TTL))
	}
	// Two for one port are not this package's work; the port stays with whoever
	// used it last.
	if other := b.slots[e.slot()]; other != nil {
		if other.row.UsedAt.After(r.UsedAt) {
			return
		}
		b.remove(other, now, false)
	}
	b.add(e)
}
