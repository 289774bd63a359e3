package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// hintCorrupt is the way out for a view that met errCorrupt.
const hintCorrupt = "start p2prc there: it keeps the corrupt file and writes it anew"

// startedAgain is why a row waits that a p2prc which has ended called up.
const startedAgain = "p2prc was started again and has not proved it yet"

// Open reads the tables in dir. The journal is the truth about own rows; a
// table file adds what was measured since. A corrupt file is kept under another
// name, reported in the log and written anew; one that a newer p2prc wrote is
// refused with an *UnusableError, and then nothing was changed.
//
// Rows that were up come back waiting, because nothing proves them any more,
// unless the last p2prc left them on purpose.
func Open(dir *Dir, o Options) (*Store, error) {
	s := newStore(dir.Path(), o)
	mine := newOwn()
	journal, errJ := readJournal(s.dir, mine.replay)
	mappings, errM := readSnapshot(s.dir, mappingKind)
	proxies, errP := readSnapshot(s.dir, proxyKind)
	for file, err := range map[string]error{journalName: errJ, mappingKind.file: errM, proxyKind.file: errP} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errCorrupt) {
			return nil, unreadable(filepath.Join(s.dir, file), err)
		}
	}

	// From here on files change.
	for _, file := range []string{journalName, mappingKind.file, proxyKind.file, ipTableName} {
		if err := atomicfile.Sweep(filepath.Join(s.dir, file)); err != nil {
			return nil, unusable(s.dir, err)
		}
	}
	if err := s.judge(journal); err != nil {
		return nil, err
	}
	if err := errors.Join(keepCorrupt(s, mappingKind, errM), keepCorrupt(s, proxyKind, errP)); err != nil {
		return nil, err
	}
	sameM := restore(s, &s.mappings, mine.mappings, journal.last, mappings)
	sameP := restore(s, &s.proxies, mine.proxies, journal.last, proxies)
	restore(s, &s.reservations, mine.reservations, journal.last, nil)
	restore(s, &s.wanted, mine.wanted, journal.last, nil)

	s.seq = journal.max
	if mappings != nil {
		s.seq = max(s.seq, mappings.Seq)
	}
	if proxies != nil {
		s.seq = max(s.seq, proxies.Seq)
	}
	if journal.damage != nil {
		s.seq++ // so that no view takes a table file from before for newer than the journal
	}
	// A file that says the same already is left alone: that is a third of a start.
	s.mappings.changed = !sameM || mappings.Seq != s.seq
	s.proxies.changed = !sameP || proxies.Seq != s.seq
	s.mappings.ipStale = true
	if err := s.rewriteJournal(); err != nil {
		return nil, unusable(s.dir, err)
	}
	if err := errors.Join(writeTable(s, &s.mappings), writeTable(s, &s.proxies), s.writeIPTable()); err != nil {
		_ = s.journal.close() // nothing is lost with it
		return nil, unusable(s.dir, err)
	}
	return s, nil
}

// judge reports what is wrong with the journal and keeps a copy of one that
// was damaged.
func (s *Store) judge(journal scan) error {
	switch {
	case journal.torn:
		s.log.Warn("the journal ended in an unfinished write, which was never acknowledged and is cut off",
			"path", s.journal.path, "bytes", journal.size-journal.good)
	case journal.damage != nil:
		aside, err := setAside(s.journal.path, s.now(), true)
		if err != nil {
			return unusable(s.journal.path, err)
		}
		s.log.Error("the journal is damaged: own rows and reservations may be lost, it is kept",
			"path", aside, "err", journal.damage, "row", journal.lost)
	}
	return nil
}

// keepCorrupt moves a table file aside if that is what err says of it.
func keepCorrupt[K comparable, R any](s *Store, k *kind[K, R], err error) error {
	if !errors.Is(err, errCorrupt) {
		return nil
	}
	path := filepath.Join(s.dir, k.file)
	aside, e := setAside(path, s.now(), false)
	if e != nil {
		return unusable(path, e)
	}
	s.log.Warn("a table file was corrupt: it is kept and built anew from the journal", "path", aside, "err", err)
	return nil
}

// restore fills t from the journal's rows and what the snapshot knows better, and
// reports whether the snapshot has just these rows.
func restore[K comparable, R any](s *Store, t *table[K, R], own map[K]ownRow[R], last uint64, snap *snapshot[R]) (same bool) {
	if snap != nil && snap.Seq > last {
		// Commits reach the journal first, so it is the journal that lost some.
		s.log.Error("a table file knows more than the journal: its rows are taken", "path", t.file)
		clear(own)
		for _, r := range snap.rows {
			if t.proof(&r).learned {
				continue
			}
			own[t.key(r)] = ownRow[R]{r, snap.Seq}
		}
	} else if snap != nil {
		for _, r := range snap.rows {
			if o, ok := own[t.key(r)]; ok && o.seq <= snap.Seq {
				o.row, _ = t.note(o.row, r)
				own[t.key(r)] = o
			}
		}
	}
	t.rows = make(map[K]*entry[R], len(own))
	for _, o := range own {
		if t.proof != nil && (snap == nil || !snap.Left) {
			t.proof(&o.row).withdraw(startedAgain)
		}
		t.set(&entry[R]{row: o.row})
	}
	return snap != nil && !snap.Left && slices.EqualFunc(t.entries(), snap.rows, func(e *entry[R], r R) bool { return any(e.row) == any(r) })
}

// unreadable is the error for a file of the state directory.
func unreadable(path string, err error) *UnusableError {
	e := unusable(path, err)
	switch {
	case errors.Is(err, errNewer):
		e.Hint = hintNewer
	case errors.Is(err, errCorrupt):
		e.Hint = hintCorrupt
	}
	return e
}

// ownRow is a row as the journal has it, and the change that put it there.
type ownRow[R any] struct {
	row R
	seq uint64
}

// own is the state that a journal leads to.
type own struct {
	mappings     map[MappingKey]ownRow[Mapping]
	proxies      map[identity.ID]ownRow[ReverseProxy]
	reservations map[ReservationKey]ownRow[Reservation]
	wanted       map[string]ownRow[Wanted]
}

func newOwn() *own {
	return &own{
		mappings:     map[MappingKey]ownRow[Mapping]{},
		proxies:      map[identity.ID]ownRow[ReverseProxy]{},
		reservations: map[ReservationKey]ownRow[Reservation]{},
		wanted:       map[string]ownRow[Wanted]{},
	}
}

// replay is for scanJournal.
func (o *own) replay(_ *scan, l line) error {
	switch l.kind {
	case mappingKind.put, mappingKind.drop:
		return replay(o.mappings, mappingKind, l)
	case proxyKind.put, proxyKind.drop:
		return replay(o.proxies, proxyKind, l)
	case reservationKind.put, reservationKind.drop:
		return replay(o.reservations, reservationKind, l)
	case wantedKind.put, wantedKind.drop:
		return replay(o.wanted, wantedKind, l)
	}
	return fmt.Errorf("%w: it has a change of kind %q", errNewer, l.kind)
}

func replay[K comparable, R any](rows map[K]ownRow[R], k *kind[K, R], l line) error {
	key, row, err := decodeChange(k, l)
	if err != nil {
		return err
	}
	if row == nil {
		delete(rows, key)
		return nil
	}
	rows[key] = ownRow[R]{*row, l.seq}
	return nil
}
