package tables

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"p2prc/tables/identity"
)

// Options are the surroundings of a Store.
type Options struct {
	Now func() time.Time // time.Now if nil
	Log *slog.Logger     // nothing is logged if nil
}

// ErrClosed is what Commit returns after Close.
var ErrClosed = errors.New("the tables are closed")

// Store is what this node knows, in memory and on disk. It may be used by
// several goroutines.
type Store struct {
	dir string
	now func() time.Time
	log *slog.Logger

	queueMu sync.Mutex // guards queue
	queue   []*pending

	// One committer at a time writes, for all that queue behind it. commit
	// guards journal; it may be held while mu is taken, not the other way round.
	commit  sync.Mutex
	journal *journal

	mu           sync.Mutex // guards what follows; no I/O under it
	seq          uint64     // of the last change
	mappings     table[MappingKey, Mapping]
	proxies      table[identity.ID, ReverseProxy]
	reservations table[ReservationKey, Reservation]
	wanted       table[string, Wanted]
	left         bool // the rows are kept on purpose
	closed       bool
	failing      bool // the last snapshot failed

	ipWriting sync.Mutex // puts the writes of ip_table.json in order; guards ipWritten
	ipWritten []byte

	due     chan struct{} // has room for one: a snapshot waits for Serve
	stamped chan struct{} // has room for one: only times changed, which may wait
}

func newStore(dir string, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		dir: dir, now: o.Now, log: o.Log,
		journal: &journal{path: filepath.Join(dir, journalName)},
		mappings: table[MappingKey, Mapping]{
			kind: mappingKind, rows: map[MappingKey]*entry[Mapping]{}, learned: map[MappingKey]*entry[Mapping]{},
		},
		proxies: table[identity.ID, ReverseProxy]{
			kind: proxyKind, rows: map[identity.ID]*entry[ReverseProxy]{}, learned: map[identity.ID]*entry[ReverseProxy]{},
		},
		reservations: table[ReservationKey, Reservation]{kind: reservationKind, rows: map[ReservationKey]*entry[Reservation]{}},
		wanted:       table[string, Wanted]{kind: wantedKind, rows: map[string]*entry[Wanted]{}},
		due:          make(chan struct{}, 1),
		stamped:      make(chan struct{}, 1),
	}
}

// Mappings is a copy of the own mappings, sorted.
func (s *Store) Mappings() []Mapping {
	s.mu.Lock()
	entries := s.mappings.own()
	s.mu.Unlock()
	return rowsOf(entries)
}

// Mapping is one of the own mappings.
func (s *Store) Mapping(k MappingKey) (Mapping, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.mappings.rows[k]; ok {
		return e.row, true
	}
	return Mapping{}, false
}

// Proxies is a copy of the own rows of reverse proxies, sorted.
func (s *Store) Proxies() []ReverseProxy {
	s.mu.Lock()
	entries := s.proxies.own()
	s.mu.Unlock()
	rows := rowsOf(entries)
	for i := range rows {
		if ms := rows[i].LatencyMS; ms != nil {
			rows[i].LatencyMS = new(*ms)
		}
	}
	return rows
}

// Reservations is a copy of the reservations, sorted.
func (s *Store) Reservations() []Reservation {
	s.mu.Lock()
	entries := s.reservations.entries()
	s.mu.Unlock()
	return rowsOf(entries)
}

// Wanted is a copy of the mappings that the user of a running server asked for,
// sorted.
func (s *Store) Wanted() []Wanted {
	s.mu.Lock()
	entries := s.wanted.entries()
	s.mu.Unlock()
	return rowsOf(entries)
}

// Note takes over what was measured about rows: for a mapping its state,
// reason, proof and lease end; for a reverse proxy its state, reason, proof,
// latency and free ports; for a reservation when its port was last proved. It
// is in memory at once and in the table files within a second of Serve, or before
// Note returns if a row is not up any more and the tables are small: nobody
// should read for a second what does not hold. A crash forgets it. A note never makes or drops a row, and one about a row that has
// got another lease, address or port in the meantime is void: it was measured
// on something else.
func (s *Store) Note(b Batch) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	m, errM := measureAll(&s.mappings, b.Mappings)
	p, errP := measureAll(&s.proxies, b.Proxies)
	_, errR := measureAll(&s.reservations, b.Reservations)
	large := s.mappings.size() >= smallTable
	s.mu.Unlock()
	switch what := max(m, p); {
	case what == fell:
		s.flushSmall()
	case what == timesOnly && large:
		s.stamp()
	case what != nothing:
		s.wake()
	}
	if err := errors.Join(errM, errP, errR); err != nil {
		s.log.Error("a measured row was not taken over", "err", err)
	}
}

func measureAll[K comparable, R any](t *table[K, R], rows []R) (what news, err error) {
	var errs []error
	for _, r := range rows {
		r, err := t.check(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		what = max(what, t.measure(r))
	}
	return what, errors.Join(errs...)
}

// stamp tells Serve that something changed which may wait.
func (s *Store) stamp() {
	select {
	case s.stamped <- struct{}{}:
	default:
	}
}

// wake tells Serve that a snapshot is due.
func (s *Store) wake() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}
