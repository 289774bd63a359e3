package tables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRead_noTable(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		m, errM := ReadMappings(dir, t0)
		p, errP := ReadProxies(dir, t0)
		if errM != nil || errP != nil || len(m.Rows)+len(p.Rows)+len(m.Files)+len(p.Files) > 0 || m.Running {
			t.Errorf("%+v, %v, %+v, %v", m, errM, p, errP)
		}
	}
}

func TestRead_keepsThePromiseAtReadingTime(t *testing.T) {
	const (
		running = iota
		left
		killed
		stopped
	)
	down := aMapping(2)
	down.State, down.Reason, down.LeaseUntil = Down, "the tunnel does not answer", t0
	unproved := aMapping(3)
	unproved.VerifiedAt = time.Time{}
	inTime, hung, late := t0.Add(time.Minute), t0.Add(provedFor), t0.Add(10*time.Minute)
	const (
		ended   = "its lease ended at 2026-11-22T10:10:00Z"
		idle    = "p2prc is not running here; last proved 2026-11-22T10:00:00Z"
		nothing = "p2prc is not running here"
		hangs   = "p2prc has not written a proof since 2026-11-22T10:00:00Z: it hangs, or its disk is full"
	)
	for _, tt := range []struct {
		name string
		how  int
		now  time.Time
		want []string // of an up, a down and an unproved mapping, and an up proxy; empty: up
	}{
		{"running", running, inTime, []string{"", down.Reason, "", ""}},
		{"running, and no proof comes", running, hung, []string{hangs, down.Reason, "", ""}},
		{"running, lease over", running, late, []string{ended, down.Reason, ended, ""}},
		{"left on purpose", left, inTime, []string{"", down.Reason, "", ""}},
		{"left on purpose, lease over", left, late, []string{ended, down.Reason, ended, ""}},
		{"killed", killed, inTime, []string{idle, down.Reason, nothing, idle}},
		{"killed, lease over", killed, late, []string{ended, down.Reason, ended, idle}},
		{"stopped", stopped, inTime, []string{idle, down.Reason, nothing, idle}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := OpenDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			b := Batch{Mappings: []Mapping{aMapping(1), down, unproved}, Proxies: []ReverseProxy{aProxy(0)}}
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			defer s.Close(false)
			switch tt.how {
			case left, stopped:
				err = errors.Join(s.Close(tt.how == left), dir.Close())
			case killed:
				err = dir.Close() // what the system does for the dead
			default:
				defer dir.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			m, errM := ReadMappings(dir.Path(), tt.now)
			p, errP := ReadProxies(dir.Path(), tt.now)
			if errM != nil || errP != nil {
				t.Fatal(errM, errP)
			}
			if m.Running != (tt.how == running) || m.Left != (tt.how == left) || p.Running != m.Running || p.Left != m.Left {
				t.Errorf("running %v, left %v", m.Running, m.Left)
			}
			var got []string
			note := func(s State, why string) {
				if (s == Up) != (why == "") {
					t.Errorf("%s with the reason %q", s, why)
				}
				got = append(got, why)
			}
			for _, r := range m.Rows {
				note(r.State, r.Reason)
			}
			for _, r := range p.Rows {
				note(r.State, r.Reason)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			files := []string{filepath.Join(dir.Path(), mappingKind.file), filepath.Join(dir.Path(), journalName)}
			if !slices.Equal(m.Files, files) || m.WrittenAt.IsZero() {
				t.Errorf("read %q, written %v", m.Files, m.WrittenAt)
			}
		})
	}
}

// The journal's tail, its whole and the table file alone give the same rows.
// After kill -9 or a power cut the files call rows up; a p2prc that has taken
// the lock and not opened the tables yet does not make that true again.
func TestRead_startedAgain(t *testing.T) {
	before := time.Now().Add(-time.Minute)
	path := t.TempDir()
	row := aMapping(1)
	row.VerifiedAt, row.LeaseUntil = before, before.Add(time.Hour)
	check := func(when string, running bool, state State, why string) {
		t.Helper()
		v, err := ReadMappings(path, time.Now())
		if err != nil || len(v.Rows) != 1 {
			t.Fatalf("%s: %+v, %v", when, v, err)
		}
		if v.Running != running || v.Rows[0].State != state || v.Rows[0].Reason != why {
			t.Errorf("%s: running %v, %s (%s)", when, v.Running, v.Rows[0].State, v.Rows[0].Reason)
		}
	}
	start := func() (*Dir, *Store) {
		t.Helper()
		dir, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{Now: func() time.Time { return before }})
		if err := errors.Join(err, s.Commit(Batch{Mappings: []Mapping{row}})); err != nil {
			t.Fatal(err)
		}
		return dir, s
	}

	dir, s := start()
	defer s.Close(false)
	if err := dir.Close(); err != nil { // what the system does for the dead
		t.Fatal(err)
	}
	dir = openDir(t, path)
	check("the lock is taken", true, Waiting, startedAgain)
	s = openStore(t, dir, Options{})
	check("the tables are opened", true, Waiting, startedAgain)
	if err := s.Commit(Batch{Mappings: []Mapping{row}}); err != nil {
		t.Fatal(err)
	}
	check("it is proved", true, Up, "")

	path = t.TempDir()
	dir, s = start()
	if err := errors.Join(s.Close(true), dir.Close()); err != nil {
		t.Fatal(err)
	}
	dir = openDir(t, path)
	check("left, and the lock is taken", true, Up, "")
	openStore(t, dir, Options{})
	check("left, and the tables are opened", true, Up, "")
}

func TestRead_whicheverFileIsBehind(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	commit := func(b Batch) {
		t.Helper()
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir.Path(), mappingKind.file)
	restore := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commit(Batch{Mappings: []Mapping{aMapping(1), aMapping(2), aMapping(3)}})
	old := mustRead(t, file)
	changed := aMapping(3)
	changed.BindPort = 4711
	commit(Batch{Mappings: []Mapping{aMapping(0), changed}, DropMappings: []MappingKey{aMapping(1).Key()}})
	newest := mustRead(t, file)
	want := []Mapping{aMapping(0), aMapping(2), changed}
	check := func(name string, files int) {
		t.Helper()
		v, err := ReadMappings(dir.Path(), t0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, v.Rows, exact); diff != "" || len(v.Files) != files {
			t.Errorf("%s: read %q: %s", name, v.Files, diff)
		}
	}
	check("both are new", 2)
	restore(old)
	check("the table file is behind", 2)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("the journal alone", 1)
	if err := s.rewriteJournal(); err != nil {
		t.Fatal(err)
	}
	check("the compacted journal alone", 1)
	restore(old)
	check("the table file is behind the compacted journal", 2)
	restore(newest)
	check("the compacted journal is as new as the table file", 2)
	if err := os.Remove(s.journal.path); err != nil {
		t.Fatal(err)
	}
	check("the table file alone", 1)
}

func TestRead_unusableIsNeverNone(t *testing.T) {
	for name, tt := range map[string]struct{ file, data, hint string }{
		"garbage":           {mappingKind.file, "garbage", hintCorrupt},
		"zero bytes":        {mappingKind.file, "", hintCorrupt},
		"newer schema":      {mappingKind.file, `{"schema":2}`, hintNewer},
		"garbage journal":   {journalName, "garbage\n", hintCorrupt},
		"empty journal":     {journalName, "", hintCorrupt},
		"newer journal":     {journalName, string(journalOf(journalLine{1, false, kindBegin, `{"format":2}`})), hintNewer},
		"a change too many": {journalName, string(journalOf(begin, journalLine{5, false, "tunnel", `{}`})), hintNewer},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tt.file)
			if err := os.WriteFile(path, []byte(tt.data), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := ReadMappings(dir, t0)
			u, ok := errors.AsType[*UnusableError](err)
			if !ok || u.Path != path || u.Hint != tt.hint || !strings.HasPrefix(err.Error(), path+" cannot be used: ") {
				t.Errorf("err = %v", err)
			}
		})
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, mappingKind.file), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMappings(dir, t0); err == nil {
		t.Error("a directory in the place of the table passes for no table")
	}
}

// Readers that come at any moment, also while table files and the journal are
// replaced, see every row that was acknowledged before they started, and no row
// that was dropped before.
func TestRead_raceWithCommits(t *testing.T) {
	t.Parallel()
	const window = 40
	path := memoryDir(t)
	t.Cleanup(func() { os.RemoveAll(path) })
	dir := openDir(t, path)
	s := openStore(t, dir, Options{})
	var acknowledged atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := int(acknowledged.Load())
				v, err := ReadMappings(dir.Path(), t0)
				if err != nil {
					t.Error(err)
					return
				}
				after := int(acknowledged.Load()) + 1
				if err := checkWindow(v.Rows, before, after, window); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := 1; i <= 300 && !t.Failed(); i++ {
		m := aMapping(i)
		m.Serial = uint64(i)
		b := Batch{Mappings: []Mapping{m}}
		if i > window {
			b.DropMappings = []MappingKey{aMapping(i - window).Key()}
		}
		if err := s.Commit(b); err != nil {
			t.Error(err)
		}
		acknowledged.Store(int64(i))
	}
	close(stop)
	wg.Wait()
}

// checkWindow: the rows are the last window of commits up to some commit
// between before and after.
func checkWindow(rows []Mapping, before, after, window int) error {
	var got []int
	for _, m := range rows {
		got = append(got, int(m.Serial))
	}
	slices.Sort(got)
	if len(got) == 0 {
		if before > 0 {
			return fmt.Errorf("no rows after commit %d", before)
		}
		return nil
	}
	last := got[len(got)-1]
	first := max(1, last-window+1)
	if last < before || last > after {
		return fmt.Errorf("the newest row is of commit %d, between %d and %d were acknowledged", last, before, after)
	}
	for i, n := range got {
		if n != first+i {
			return fmt.Errorf("at commit %d there is row %d where %d belongs: %v", last, n, first+i, got)
		}
	}
	if len(got) != last-first+1 {
		return fmt.Errorf("at commit %d there are %d rows: %v", last, len(got), got)
	}
	return nil
}

func TestMerge(t *testing.T) {
	a, b := aMapping(1), aMapping(2)
	changed := b
	changed.Serial++
	for name, tt := range map[string]struct {
		later map[MappingKey]*Mapping
		want  []Mapping
	}{
		"nothing":       {nil, []Mapping{a, b}},
		"a drop":        {map[MappingKey]*Mapping{a.Key(): nil}, []Mapping{b}},
		"drops nothing": {map[MappingKey]*Mapping{aMapping(7).Key(): nil}, []Mapping{a, b}},
		"a change":      {map[MappingKey]*Mapping{b.Key(): &changed}, []Mapping{a, changed}},
		"all go":        {map[MappingKey]*Mapping{a.Key(): nil, b.Key(): nil}, nil},
	} {
		got := merge(mappingKind, []Mapping{a, b}, tt.later)
		if diff := cmp.Diff(tt.want, got, exact, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
