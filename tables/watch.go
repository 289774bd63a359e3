package tables

import (
	"os"
	"path/filepath"
	"time"
)

// Watch follows a table for somebody without the lock: it reads the files only
// when they, or who holds the directory, have changed. Go's library has no
// word from the system about changed files, so the asking is the caller's; it
// costs three stats and a look at the lock.
type Watch[T any] struct {
	dir   string
	file  string
	read  func(dir string, now time.Time) (View[T], error)
	seen  stamps
	view  View[T]
	known bool
}

// WatchMappings follows what ReadMappings reads.
func WatchMappings(dir string) *Watch[Mapping] {
	return &Watch[Mapping]{dir: dir, file: mappingKind.file, read: ReadMappings}
}

// WatchProxies follows what ReadProxies reads.
func WatchProxies(dir string) *Watch[ReverseProxy] {
	return &Watch[ReverseProxy]{dir: dir, file: proxyKind.file, read: ReadProxies}
}

// Look is the table at the time now, and whether it was read since the last
// Look, which is when it can have changed. The rows are not the caller's to
// change.
func (w *Watch[T]) Look(now time.Time) (v View[T], changed bool, err error) {
	// Taken before the reading: what changes during it is read next time.
	seen, err := w.stamps()
	if err != nil {
		return View[T]{}, false, err
	}
	leaseEnded := !w.view.Until.IsZero() && !now.Before(w.view.Until)
	if w.known && seen.same(w.seen) && !leaseEnded {
		return w.view, false, nil
	}
	if v, err = w.read(w.dir, now); err != nil {
		return View[T]{}, false, err
	}
	w.seen, w.view, w.known = seen, v, true
	return v, true, nil
}

// stamps are what tells whether a table can have changed.
type stamps struct {
	files [2]os.FileInfo // nil: there is none
	held  bool
}

func (w *Watch[T]) stamps() (s stamps, err error) {
	for i, name := range []string{w.file, journalName} {
		// What cannot be looked at is for the reading to complain about.
		if info, err := os.Stat(filepath.Join(w.dir, name)); err == nil {
			s.files[i] = info
		}
	}
	_, s.held, err = Holder(w.dir)
	return s, err
}

func (s stamps) same(old stamps) bool {
	for i, f := range s.files {
		o := old.files[i]
		if (f == nil) != (o == nil) {
			return false
		}
		// A table file is replaced, and the journal grows or is replaced.
		if f != nil && !(os.SameFile(f, o) && f.Size() == o.Size() && f.ModTime().Equal(o.ModTime())) {
			return false
		}
	}
	return s.held == old.held
}
