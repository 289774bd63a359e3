package tables

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServe_writesSeldomAndOnlyWhatChanged(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := aMapping(1)
		if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx) }()

		shown := func() time.Time {
			synctest.Wait()
			snap, err := readSnapshot(dir.Path(), mappingKind)
			if err != nil {
				t.Fatal(err)
			}
			return snap.rows[0].VerifiedAt
		}
		note := func(n int) time.Time {
			m.VerifiedAt = t0.Add(time.Duration(n) * time.Hour)
			s.Note(Batch{Mappings: []Mapping{m}})
			return m.VerifiedAt
		}
		first := note(1)
		if got := shown(); got != first {
			t.Errorf("the first note is not written at once: %v", got)
		}
		second := note(2)
		if got := shown(); got != first {
			t.Errorf("written twice at once: %v", got)
		}
		note(2) // nothing new
		<-time.After(smallFlushPause)
		if got := shown(); got != second {
			t.Errorf("not written after the pause: %v", got)
		}
		proxies, err := os.Stat(filepath.Join(dir.Path(), proxyKind.file))
		if err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(filepath.Join(dir.Path(), mappingKind.file))
		<-time.After(time.Hour)
		synctest.Wait()
		if after, _ := os.Stat(filepath.Join(dir.Path(), mappingKind.file)); !os.SameFile(before, after) {
			t.Error("written although nothing changed")
		}
		note(3)
		synctest.Wait()
		if after, _ := os.Stat(filepath.Join(dir.Path(), proxyKind.file)); !os.SameFile(proxies, after) {
			t.Error("the other table was written as well")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
	})
}

// A large table is not written only because its rows were proved again, but soon
// when one of them says something else.
func TestServe_largeTableLetsTimesWait(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := aMapping(1)
		m.State, m.Reason = Up, ""
		var learned []Mapping
		for i := range smallTable {
			learned = append(learned, aMapping(i+2))
		}
		s.Learn(Learned{Mappings: learned})
		if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx) }()
		shown := func() Mapping {
			synctest.Wait()
			v, err := readFiles(dir.Path(), mappingKind)
			if err != nil || len(v.Rows) != len(learned)+1 {
				t.Fatal(len(v.Rows), err)
			}
			i := slices.IndexFunc(v.Rows, func(r Mapping) bool { return r.Key() == m.Key() })
			return v.Rows[i]
		}
		file := filepath.Join(dir.Path(), mappingKind.file)
		<-time.After(2 * flushPause)
		before := shown()
		m.VerifiedAt = m.VerifiedAt.Add(time.Hour)
		s.Note(Batch{Mappings: []Mapping{m}})
		<-time.After(2 * flushPause)
		if got := shown(); got.VerifiedAt != before.VerifiedAt {
			t.Error("written for a time alone")
		}
		written, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(stampPause)
		if got := shown(); got.VerifiedAt != m.VerifiedAt {
			t.Errorf("the time is never written: %v", got.VerifiedAt)
		}
		for range 200 { // the journal is compacted meanwhile
			m.VerifiedAt = m.VerifiedAt.Add(time.Minute)
			s.Note(Batch{Mappings: []Mapping{m}})
			<-time.After(stampPause)
		}
		if got := shown(); got.VerifiedAt != m.VerifiedAt {
			t.Errorf("the last time is not written: %v", got.VerifiedAt)
		}
		if now, err := os.Stat(file); err != nil || !os.SameFile(written, now) {
			t.Errorf("the large file was written for a time alone (%v)", err)
		}
		m.VerifiedAt = m.VerifiedAt.Add(time.Hour)
		s.Note(Batch{Mappings: []Mapping{m}})
		synctest.Wait()
		m.State, m.Reason = Down, "gone"
		s.Note(Batch{Mappings: []Mapping{m}})
		<-time.After(2 * flushPause)
		if got := shown(); got.State != Down {
			t.Errorf("what is down is not written: %+v", got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
	})
}

func TestCommit_largeTableIsLeftToServe(t *testing.T) {
	dir, s := filled(t, smallTable)
	before, err := os.Stat(filepath.Join(dir.Path(), mappingKind.file))
	if err != nil {
		t.Fatal(err)
	}
	m := aMapping(smallTable)
	if err := s.Commit(Batch{Mappings: []Mapping{m}, DropMappings: []MappingKey{aMapping(0).Key()}}); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(filepath.Join(dir.Path(), mappingKind.file)); !os.SameFile(before, after) {
		t.Error("the table file was written")
	}
	v, err := ReadMappings(dir.Path(), t0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Mappings(), v.Rows, exact); diff != "" {
		t.Error(diff)
	}
	if len(s.due) != 1 {
		t.Error("Serve was not told")
	}
}

func TestClose_endsIt(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	if err := errors.Join(s.Close(true), s.Close(false)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(Batch{Mappings: []Mapping{aMapping(1)}}); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit after Close: %v", err)
	}
	snap, err := readSnapshot(dir.Path(), mappingKind)
	if err != nil || !snap.Left {
		t.Errorf("%+v, %v", snap, err)
	}
}

func TestJournal_compaction(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	largest, shrunk := 0, false
	const commits, n = 60, 7
	for i := range commits {
		var b Batch
		for k := range n {
			m := aMapping(k)
			m.Serial = uint64(i)
			b.Mappings = append(b.Mappings, m)
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		size := len(mustRead(t, dir.Path(), journalName))
		shrunk = shrunk || size < largest
		largest = max(largest, size)
	}
	if !shrunk || largest > 2*journalFloor {
		t.Errorf("the journal reached %d bytes, shrunk %v", largest, shrunk)
	}
	again := openStore(t, dir, Options{})
	for _, m := range again.Mappings() {
		if m.Serial != commits-1 {
			t.Errorf("%s has serial %d", m.Name, m.Serial)
		}
	}
}
