package tables

import (
	"fmt"

	"p2prc/tables/identity"
)

// Batch is a set of changes that become durable together or not at all. What
// is dropped goes before what is set, so a batch may replace a row.
type Batch struct {
	Mappings         []Mapping
	DropMappings     []MappingKey
	Proxies          []ReverseProxy
	DropProxies      []identity.ID
	Reservations     []Reservation
	DropReservations []ReservationKey
	Wanted           []Wanted
	DropWanted       []string // by name
}

const (
	// maxRows bounds a table: with it every file stays one that a view reads in
	// well under a second.
	maxRows = 100_000

	// smallTable is up to where a table file is written before Commit returns.
	// That costs two syncs and a copy of the file; above, views read the
	// journal's tail until Serve has written.
	smallTable = 2_000

	usualLine = 640 // bytes of the journal, to save copying
)

// change is one line of the journal and what it does to memory.
type change struct {
	kind  string
	row   []byte
	fresh func() (rows int, fresh bool) // under Store.mu: size of the table; whether the row is new in it
	apply func()                        // under Store.mu
}

// pending is a batch on its way into the journal; Store.commit guards done and err.
type pending struct {
	changes []change
	done    bool
	err     error
}

// Commit makes the batch durable: when it returns nil, the changes survive a
// crash and a power loss. After an error nothing has changed. Its cost does not
// depend on the size of a table of smallTable rows or more; committers that
// wait at the same time share one sync.
func (s *Store) Commit(b Batch) error {
	changes, err := s.changes(b)
	if err != nil || len(changes) == 0 {
		return err
	}
	p := &pending{changes: changes}
	s.queueMu.Lock()
	s.queue = append(s.queue, p)
	s.queueMu.Unlock()

	s.commit.Lock()
	defer s.commit.Unlock()
	if !p.done { // else another committer took it along
		s.queueMu.Lock()
		group := s.queue
		s.queue = nil
		s.queueMu.Unlock()
		s.commitGroup(group)
	}
	return p.err
}

// commitGroup writes all batches at once; the caller holds s.commit.
func (s *Store) commitGroup(group []*pending) {
	accepted, lines, seq, err := s.lines(group)
	if err == nil && len(accepted) > 0 {
		err = s.appendJournal(lines)
	}
	for _, p := range group {
		p.done = true
	}
	if err != nil {
		for _, p := range accepted {
			p.err = err
		}
		return
	}
	s.mu.Lock()
	for _, p := range accepted {
		for _, c := range p.changes {
			c.apply()
		}
	}
	s.seq = seq
	s.mu.Unlock()
	s.compactJournal()
	s.flushSmall()
}

// stampOwn writes the own mappings into the journal as they are now. While nothing
// but the times of their proofs changes, that spares a table of very many rows
// from being written for a few of them.
func (s *Store) stampOwn() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	own, seq, closed := s.mappings.own(), s.seq, s.closed
	s.mu.Unlock()
	if closed || len(own) == 0 {
		return nil
	}
	now := s.now()
	var lines []byte
	for i, e := range own {
		row, err := e.bytes()
		if err != nil {
			return fmt.Errorf("encoding a row of kind %s: %w", mappingKind.put, err)
		}
		seq++
		lines = appendLine(lines, seq, i < len(own)-1, mappingKind.put, now, row)
	}
	if err := s.appendJournal(lines); err != nil {
		return err
	}
	s.mu.Lock()
	s.seq = seq
	s.mu.Unlock()
	s.compactJournal()
	return nil
}

// appendJournal makes lines durable; the caller holds s.commit.
func (s *Store) appendJournal(lines []byte) error {
	if s.journal.unsure {
		if err := s.rewriteJournal(); err != nil {
			return err
		}
	}
	return s.journal.append(lines)
}

// compactJournal rewrites a journal that has grown; the caller holds s.commit.
func (s *Store) compactJournal() {
	if s.journal.size <= s.journal.limit {
		return
	}
	// What is in it is durable already: a full disk only keeps the journal long.
	if err := s.rewriteJournal(); err != nil {
		s.log.Warn("the journal stays longer than it needs to be", "path", s.journal.path, "err", err)
	}
}

// lines is the group as it goes into the journal, without the batches that
// there is no room for.
func (s *Store) lines(group []*pending) (accepted []*pending, lines []byte, seq uint64, err error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return group, nil, 0, ErrClosed
	}
	seq = s.seq
	grown := map[string]int{}
	for _, p := range group {
		if p.err = room(p.changes, grown); p.err != nil {
			continue
		}
		accepted = append(accepted, p)
		for i, c := range p.changes {
			seq++
			lines = appendLine(lines, seq, i < len(p.changes)-1, c.kind, now, c.row)
		}
	}
	return accepted, lines, seq, nil
}

// room adds the new rows to grown, by kind, or says which table would overflow.
func room(changes []change, grown map[string]int) error {
	more := map[string]int{}
	for _, c := range changes {
		rows, fresh := c.fresh()
		if !fresh {
			continue
		}
		more[c.kind]++
		if rows+grown[c.kind]+more[c.kind] > maxRows {
			return fmt.Errorf("the table is full: it has %d rows of kind %s, and %d is the most", rows, c.kind, maxRows)
		}
	}
	for kind, n := range more {
		grown[kind] += n
	}
	return nil
}

// rewriteJournal compacts the journal; the caller holds s.commit.
func (s *Store) rewriteJournal() error {
	s.mu.Lock()
	seq := s.seq
	mappings, proxies, reservations := s.mappings.own(), s.proxies.own(), s.reservations.own()
	wanted := s.wanted.own()
	s.mu.Unlock()

	now := s.now()
	rows := len(mappings) + len(proxies) + len(reservations) + len(wanted)
	state := make([]byte, 0, (rows+1)*usualLine)
	state = appendLine(state, seq, rows > 0, kindBegin, now, fmt.Appendf(nil, `{"format":%d}`, journalFormat))
	add := func(kind string, row []byte, err error) error {
		if err != nil {
			return fmt.Errorf("encoding a row of kind %s: %w", kind, err)
		}
		rows--
		state = appendLine(state, seq, rows > 0, kind, now, row)
		return nil
	}
	if err := addAll(add, mappingKind, mappings); err != nil {
		return err
	}
	if err := addAll(add, proxyKind, proxies); err != nil {
		return err
	}
	if err := addAll(add, reservationKind, reservations); err != nil {
		return err
	}
	if err := addAll(add, wantedKind, wanted); err != nil {
		return err
	}
	return s.journal.rewrite(state)
}

func addAll[K comparable, R any](add func(string, []byte, error) error, k *kind[K, R], entries []*entry[R]) error {
	for _, e := range entries {
		row, err := e.bytes()
		if err := add(k.put, row, err); err != nil {
			return err
		}
	}
	return nil
}

// changes checks the batch and encodes it, in the committer's own goroutine.
func (s *Store) changes(b Batch) (out []change, err error) {
	if out, err = drops(out, &s.mappings, b.DropMappings); err != nil {
		return nil, err
	}
	if out, err = drops(out, &s.proxies, b.DropProxies); err != nil {
		return nil, err
	}
	if out, err = drops(out, &s.reservations, b.DropReservations); err != nil {
		return nil, err
	}
	if out, err = drops(out, &s.wanted, b.DropWanted); err != nil {
		return nil, err
	}
	if out, err = puts(out, &s.mappings, b.Mappings); err != nil {
		return nil, err
	}
	if out, err = puts(out, &s.proxies, b.Proxies); err != nil {
		return nil, err
	}
	if out, err = puts(out, &s.reservations, b.Reservations); err != nil {
		return nil, err
	}
	return puts(out, &s.wanted, b.Wanted)
}

func puts[K comparable, R any](out []change, t *table[K, R], rows []R) ([]change, error) {
	for _, r := range rows {
		r, err := t.check(r)
		if err != nil {
			return nil, err
		}
		e := &entry[R]{row: r}
		row, err := e.bytes()
		if err != nil {
			return nil, fmt.Errorf("encoding a row of kind %s: %w", t.put, err)
		}
		out = append(out, change{
			kind: t.put, row: row,
			fresh: func() (int, bool) {
				_, known := t.rows[t.key(r)]
				return len(t.rows), !known
			},
			apply: func() { t.set(e) },
		})
	}
	return out, nil
}

func drops[K comparable, R any](out []change, t *table[K, R], keys []K) ([]change, error) {
	for _, key := range keys {
		row, err := encode(key)
		if err != nil {
			return nil, fmt.Errorf("encoding a key of kind %s: %w", t.drop, err)
		}
		out = append(out, change{
			kind: t.drop, row: row,
			fresh: func() (int, bool) { return len(t.rows), false },
			apply: func() { t.remove(key) },
		})
	}
	return out, nil
}
