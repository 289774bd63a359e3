package tables

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	path := t.TempDir()
	w := WatchMappings(path)
	now := time.Now()
	look := func(step string, want bool, rows int) View[Mapping] {
		t.Helper()
		v, changed, err := w.Look(now)
		if err != nil || changed != want || len(v.Rows) != rows {
			t.Fatalf("%s: changed %t with %d rows, %v; want %t with %d", step, changed, len(v.Rows), err, want, rows)
		}
		return v
	}
	look("the first look", true, 0)
	look("there is still no table", false, 0)

	dir := openDir(t, path)
	s := openStore(t, dir, Options{})
	look("a p2prc came", true, 0)
	m := aMapping(1)
	m.State, m.Reason, m.LeaseUntil, m.VerifiedAt = Up, "", now.Add(time.Minute), now
	if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
		t.Fatal(err)
	}
	if v := look("a commit", true, 1); !v.Until.Equal(m.LeaseUntil.Round(0)) || v.Rows[0].State != Up {
		t.Errorf("%+v until %v", v.Rows[0], v.Until)
	}
	look("nothing", false, 1)

	m.State, m.Reason = Down, "the tunnel carries no data"
	s.Note(Batch{Mappings: []Mapping{m}})
	s.Flush()
	if v := look("a measurement", true, 1); v.Rows[0].State != Down || !v.Until.IsZero() {
		t.Errorf("%+v until %v", v.Rows[0], v.Until)
	}
	m.State, m.Reason = Up, ""
	s.Note(Batch{Mappings: []Mapping{m}})
	s.Flush()
	look("it is up again", true, 1)

	now = m.LeaseUntil
	if v := look("the lease ended, no file changed", true, 1); v.Rows[0].State != Waiting {
		t.Errorf("%+v", v.Rows[0])
	}
	now = now.Add(-time.Second)
	if err := dir.Close(); err != nil { // as a kill -9 drops the lock
		t.Fatal(err)
	}
	if v := look("p2prc went", true, 1); v.Running || v.Rows[0].State != Waiting {
		t.Errorf("running %t, %+v", v.Running, v.Rows[0])
	}

	table := filepath.Join(path, mappingKind.file)
	if err := os.WriteFile(table, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := w.Look(now); !errors.Is(err, errCorrupt) {
			t.Errorf("a corrupt table: %v", err)
		}
	}
	if err := os.Remove(table); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	look("the journal alone", true, 1)
}

func BenchmarkWatch_nothingNew(b *testing.B) {
	dir, _ := filled(b, 100_000)
	w := WatchMappings(dir.Path())
	if _, _, err := w.Look(time.Now()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, changed, err := w.Look(time.Now()); changed || err != nil {
			b.Fatal(changed, err)
		}
	}
}
