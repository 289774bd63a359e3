package tables

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"p2prc/tables/atomicfile"
)

// flushPause is the least time between two rounds of snapshots: a table of
// maxRows rows takes a good part of it to write. Small ones follow sooner: what
// other nodes say should be in everybody's files within a second.
const (
	flushPause      = time.Second
	smallFlushPause = 250 * time.Millisecond
)

// stampPause is how long a large table may go without the times at which its rows
// were proved last, while nothing else changes. The views believe a row for twice
// as long, and to write 100,000 rows each time would be all that a node does. A
// small one soon has what was measured of others' rows: some are at every moment.
const (
	stampPause      = time.Minute
	smallStampPause = 5 * time.Second
)

// fewOwn is the part of a large table below which own rows are stamped in the journal.
const fewOwn = 8

// Serve writes the table files that Commit leaves to it and those that Note
// changed, at most once in a flushPause, until ctx ends. Nothing ticks while
// nothing changes.
func (s *Store) Serve(ctx context.Context) error {
	var stamps, mappings <-chan time.Time // times alone are due; those of a large mapping table
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.due:
		case <-s.stamped:
			if stamps == nil {
				stamps = time.After(smallStampPause)
			}
			continue
		case <-stamps:
			if stamps = nil; s.isLarge() {
				s.report(writeTable(s, &s.proxies))
				if mappings == nil {
					mappings = time.After(stampPause - smallStampPause)
				}
				continue
			}
		case <-mappings:
			if mappings = nil; s.ownAreFew() {
				s.report(errors.Join(s.stampOwn(), s.writeIPTable()))
				continue
			}
		}
		stamps, mappings = nil, nil
		s.Flush()
		pause := time.NewTimer(s.flushPause())
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (s *Store) flushPause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mappings.size() < smallTable && s.proxies.size() < smallTable {
		return smallFlushPause
	}
	return flushPause
}

func (s *Store) isLarge() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mappings.size() >= smallTable
}

// ownAreFew reports whether nearly all mappings are others'.
func (s *Store) ownAreFew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mappings.rows) < s.mappings.size()/fewOwn
}

// Close writes the table files for the last time and closes the journal. left
// says that the tunnels stay and the rows are kept on purpose: the views then
// go on believing them until their leases end. The Dir is the caller's to close.
func (s *Store) Close(left bool) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed, s.left = true, left
	s.mappings.changed, s.proxies.changed, s.mappings.ipStale = true, true, true
	s.mu.Unlock()
	return errors.Join(writeTable(s, &s.mappings), writeTable(s, &s.proxies), s.writeIPTable(), s.journal.close())
}

// Flush writes every table file that is behind, now.
func (s *Store) Flush() {
	s.report(errors.Join(writeTable(s, &s.mappings), writeTable(s, &s.proxies), s.writeIPTable()))
}

// flushSmall writes the files of small tables that are behind, and leaves the
// others to Serve. The rows are in the journal already, so an error is not the
// committer's.
func (s *Store) flushSmall() {
	s.mu.Lock()
	mappings, proxies := s.mappings.size() < smallTable, s.proxies.size() < smallTable
	s.mu.Unlock()
	var errs []error
	if mappings {
		errs = append(errs, writeTable(s, &s.mappings))
	}
	if proxies {
		errs = append(errs, writeTable(s, &s.proxies))
	}
	if mappings && proxies {
		errs = append(errs, s.writeIPTable())
	} else {
		s.wake()
	}
	s.report(errors.Join(errs...))
}

// report logs that the table files could not be written, the first time
// loudly, and has Serve try again.
func (s *Store) report(err error) {
	s.mu.Lock()
	was := s.failing
	s.failing = err != nil
	s.mu.Unlock()
	switch {
	case err != nil && was:
		s.log.Debug("the table files are still behind the journal", "err", err)
	case err != nil:
		s.log.Warn("the table files are behind the journal", "err", err)
	case was:
		s.log.Info("the table files are up to date again")
	}
	if err != nil {
		s.wake()
	}
}

// writeTable brings the snapshot of t up to date.
func writeTable[K comparable, R any](s *Store, t *table[K, R]) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	now := s.now()
	s.mu.Lock()
	if !t.changed {
		s.mu.Unlock()
		return nil
	}
	t.changed = false
	entries := t.entries()
	h := header{Schema: schema, Seq: s.seq, WrittenAt: now, Left: s.left}
	s.mu.Unlock()

	data, err := encodeSnapshot(t.kind, h, entries)
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, t.file), data, tablePerm)
	}
	if err != nil {
		s.mu.Lock()
		t.changed = true
		s.mu.Unlock()
	}
	return err
}

// writeIPTable brings ip_table.json up to date. Most changes leave it as it is.
func (s *Store) writeIPTable() error {
	s.ipWriting.Lock()
	defer s.ipWriting.Unlock()
	s.mu.Lock()
	if !s.mappings.ipStale && !s.proxies.ipStale {
		s.mu.Unlock()
		return nil
	}
	s.mappings.ipStale, s.proxies.ipStale = false, false
	mappings, proxies := s.mappings.entries(), s.proxies.entries()
	s.mu.Unlock()

	var nodes []Mapping
	for _, e := range mappings {
		if s.mappings.dialled(e.row) {
			nodes = append(nodes, e.row)
		}
	}
	data, err := encodeIPTable(nodes, rowsOf(proxies))
	if s.ipWritten == nil { // an earlier p2prc may have written the same
		s.ipWritten, _ = os.ReadFile(filepath.Join(s.dir, ipTableName))
	}
	if err == nil && s.ipWritten != nil && bytes.Equal(data, s.ipWritten) {
		return nil
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, ipTableName), data, tablePerm)
	}
	if err != nil {
		s.mu.Lock()
		s.mappings.ipStale = true
		s.mu.Unlock()
		return err
	}
	s.ipWritten = data
	return nil
}
