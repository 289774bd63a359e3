package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// View is a table as somebody without the lock sees it.
type View[T any] struct {
	Rows      []T
	Files     []string  // what was read; none if there is no table
	Running   bool      // a p2prc holds the directory
	Left      bool      // the rows are kept on purpose, without a p2prc
	WrittenAt time.Time // of the newest change or measurement in it
	Until     time.Time // when the first row that is up will wait by itself; zero: none will
}

// ReadMappings reads the mapping table in dir, whether or not a p2prc runs
// there. Rows that the files call up are shown waiting when nothing stands
// behind them any more at the time now. A directory without a table is an empty
// View; a table that cannot be read is an *UnusableError.
func ReadMappings(dir string, now time.Time) (View[Mapping], error) {
	return read(dir, now, mappingKind)
}

// ReadProxies reads the table of reverse proxies as ReadMappings does the other.
func ReadProxies(dir string, now time.Time) (View[ReverseProxy], error) {
	return read(dir, now, proxyKind)
}

// viewTries is how often a view reads again before it calls a file corrupt: it
// may have met the journal between a failed write and its being undone.
const viewTries = 3

func read[K comparable, R any](dir string, now time.Time, k *kind[K, R]) (View[R], error) {
	// Asked first: what a p2prc that starts after this has yet to prove does
	// not count, and one that ends after this has proved what it wrote.
	since, running, err := heldSince(dir)
	if err != nil {
		return View[R]{}, err
	}
	var v View[R]
	for range viewTries {
		if v, err = readFiles(dir, k); err == nil {
			break
		}
	}
	if err != nil {
		return View[R]{}, err
	}
	v.Running = running
	by := nobody
	switch {
	case v.Left:
		by = itsLeases
	case running && v.WrittenAt.Before(since) && !now.Before(since):
		// A clock that was set back would say so of every table; it is not asked.
		by = aSuccessor
	case running:
		by = aP2PRC
	}
	v.Left = v.Left && !running
	for i := range v.Rows {
		p := k.proof(&v.Rows[i])
		keepPromise(p, now, by, v.WrittenAt)
		if *p.state == Up {
			v.Until = sooner(v.Until, promiseEnds(p, by, v.WrittenAt))
		}
	}
	return v, nil
}

// How long a row is believed that nobody updates.
const (
	// heardFor is for one of another node: as long as a heartbeat of its proxy.
	heardFor = 40 * time.Second

	// provedFor is for an own mapping while a p2prc runs, which proves it anew
	// every 15 s: that p2prc hangs, or its disk is full.
	provedFor = 2 * time.Minute
)

// tender is who looks after the rows of a directory.
type tender int

const (
	nobody     tender = iota
	itsLeases         // p2prc left on purpose: the tunnels stay up
	aSuccessor        // a p2prc that starts and has not opened the tables yet
	aP2PRC            // that runs
)

// outOfTouch says that nobody hears what other nodes tell.
func (t tender) outOfTouch() bool { return t == nobody || t == aSuccessor }

// keepPromise makes a row wait whose proof does not hold now. heard is when the
// table was written.
func keepPromise(p proof, now time.Time, by tender, heard time.Time) {
	over := promiseEnds(p, by, heard)
	switch {
	case p.learned && by.outOfTouch():
		if !now.Before(over) {
			p.withdraw("last heard of " + stampText(heard) + "; p2prc --update-server-list asks anew")
		}
	case !p.leaseUntil.IsZero() && !now.Before(p.leaseUntil):
		p.withdraw("its lease ended at " + stampText(p.leaseUntil))
	case by == aSuccessor:
		p.withdraw(startedAgain)
	case by == nobody && p.verifiedAt.IsZero():
		p.withdraw("p2prc is not running here")
	case by == nobody:
		p.withdraw("p2prc is not running here; last proved " + stampText(p.verifiedAt))
	case !over.IsZero() && !now.Before(over):
		p.withdraw("p2prc has not written a proof since " + stampText(p.verifiedAt) + ": it hangs, or its disk is full")
	}
}

// promiseEnds is when keepPromise will make a row wait that is up now and does
// not change; zero: never.
func promiseEnds(p proof, by tender, heard time.Time) time.Time {
	switch {
	case p.learned && by.outOfTouch():
		return heard.Add(heardFor + 1)
	case by == aP2PRC && !p.learned && !p.leaseUntil.IsZero() && !p.verifiedAt.IsZero():
		return sooner(p.leaseUntil, p.verifiedAt.Add(provedFor))
	}
	return p.leaseUntil
}

// sooner is the earlier of two times, of which a zero one never comes.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func stampText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// readFiles reads the snapshot and then the journal, in this order: whatever is
// committed after the snapshot was opened is in the journal, or the journal was
// compacted since and has everything by itself.
func readFiles[K comparable, R any](dir string, k *kind[K, R]) (View[R], error) {
	var v View[R]
	snapPath, journalPath := filepath.Join(dir, k.file), filepath.Join(dir, journalName)
	snap, err := readSnapshot(dir, k)
	switch {
	case err == nil:
		v.Files = append(v.Files, snapPath)
		v.Rows, v.Left, v.WrittenAt = snap.rows, snap.Left, snap.WrittenAt
	case errors.Is(err, fs.ErrNotExist):
		snap = nil
	default:
		return v, unreadable(snapPath, err)
	}

	later := map[K]*R{} // changes that the snapshot lacks; nil: dropped
	journal, err := readJournal(dir, func(s *scan, l line) error {
		if snap != nil && s.base <= snap.Seq && l.seq <= snap.Seq {
			return nil
		}
		switch l.kind {
		case k.put, k.drop:
			key, row, err := decodeChange(k, l)
			later[key] = row
			return err
		case mappingKind.put, mappingKind.drop, proxyKind.put, proxyKind.drop, reservationKind.put, reservationKind.drop,
			wantedKind.put, wantedKind.drop:
			return nil
		}
		return fmt.Errorf("%w: it has a change of kind %q", errNewer, l.kind)
	})
	if err == nil && journal.damage != nil {
		err = fmt.Errorf("%w: %w", errCorrupt, journal.damage)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, nil
	case err != nil:
		return v, unreadable(journalPath, err)
	}
	v.Files = append(v.Files, journalPath)
	stale := snap == nil || journal.base > snap.Seq
	if stale { // it knows of own rows less than the journal, and of others' all there is
		v.Rows = slices.DeleteFunc(v.Rows, func(r R) bool { return !k.proof(&r).learned })
		v.Left = false
	}
	if stale || len(later) > 0 {
		at, err := time.Parse(time.RFC3339Nano, string(journal.at))
		if err != nil {
			return v, unreadable(journalPath, fmt.Errorf("%w: %w", errCorrupt, err))
		}
		v.WrittenAt = at
	}
	v.Rows = merge(k, v.Rows, later)
	return v, nil
}

// merge applies changes to sorted rows.
func merge[K comparable, R any](k *kind[K, R], rows []R, later map[K]*R) []R {
	if len(later) == 0 {
		return rows
	}
	rows = slices.DeleteFunc(rows, func(r R) bool {
		_, changed := later[k.key(r)]
		return changed
	})
	for _, r := range later {
		if r != nil {
			rows = append(rows, *r)
		}
	}
	slices.SortFunc(rows, func(a, b R) int { return k.compare(k.key(a), k.key(b)) })
	return rows
}
