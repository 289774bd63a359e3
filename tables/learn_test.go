package tables

import (
	"strings"
	"testing"
	"time"
)

func TestLearn(t *testing.T) {
	now := t0
	path := t.TempDir()
	// session is one p2prc in the directory.
	session := func(work func(*Store)) {
		t.Helper()
		dir, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		s, err := Open(dir, Options{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		work(s)
		if err := s.Close(false); err != nil {
			t.Fatal(err)
		}
	}
	rows := func() map[string]Mapping {
		t.Helper()
		v, err := ReadMappings(path, now)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]Mapping)
		for _, m := range v.Rows {
			got[m.Name] = m
		}
		return got
	}
	own, theirs := aMapping(1), aMapping(2)
	theirs.LeaseUntil = now.Add(time.Hour)
	session(func(s *Store) {
		if err := s.Commit(Batch{Mappings: []Mapping{own}}); err != nil {
			t.Fatal(err)
		}
		pretender := own
		pretender.BindPort++
		s.Learn(Learned{Mappings: []Mapping{theirs, pretender}, Proxies: []ReverseProxy{aProxy(1)}})
		if got := s.Mappings(); len(got) != 1 || got[0].Learned {
			t.Errorf("own mappings: %+v", got)
		}
	})
	if got := rows(); len(got) != 2 || got[own.Name].BindPort != own.BindPort || got[own.Name].Learned {
		t.Errorf("a row of our own gave way: %+v", got)
	}
	if m := rows()[theirs.Name]; !m.Learned || m.State != Up {
		t.Errorf("just heard of: %+v", m)
	}
	if v, err := ReadProxies(path, now); err != nil || len(v.Rows) != 1 || !v.Rows[0].Learned {
		t.Errorf("proxies: %+v, %v", v.Rows, err)
	}
	now = now.Add(heardFor + time.Second)
	if m := rows()[theirs.Name]; m.State != Waiting || !strings.Contains(m.Reason, "last heard of 2026-11-22T10:00:00Z") {
		t.Errorf("nobody updates it: %+v", m)
	}

	session(func(s *Store) {
		if err := s.rewriteJournal(); err != nil { // only own rows are kept
			t.Fatal(err)
		}
	})
	if got := rows(); len(got) != 1 || got[own.Name].Name == "" {
		t.Errorf("after a restart: %+v", got)
	}
	session(func(s *Store) {
		s.Learn(Learned{Mappings: []Mapping{theirs}})
		s.Learn(Learned{DropMappings: []MappingKey{theirs.Key(), own.Key()}})
	})
	if got := rows(); len(got) != 1 || got[own.Name].Name == "" {
		t.Errorf("taken back: %+v", got)
	}
}

// A row of this node's own that goes leaves the place to what others say.
func TestLearn_underAnOwnRow(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(false)
	m := aMapping(1)
	if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
		t.Fatal(err)
	}
	s.Learn(Learned{Mappings: []Mapping{m}})
	if err := s.Commit(Batch{DropMappings: []MappingKey{m.Key()}}); err != nil {
		t.Fatal(err)
	}
	v, err := ReadMappings(dir.Path(), m.VerifiedAt)
	if err != nil || len(v.Rows) != 1 || !v.Rows[0].Learned {
		t.Errorf("%+v, %v", v.Rows, err)
	}
}

func TestLearn_full(t *testing.T) {
	s := newStore(t.TempDir(), Options{})
	var l Learned
	for i := range 30 {
		l.Mappings = append(l.Mappings, aMapping(i))
	}
	entries, err := learnedEntries(mappingKind, l.Mappings, func(m *Mapping) { m.Learned = true })
	if err != nil {
		t.Fatal(err)
	}
	if _, left := s.mappings.learn(entries, nil, 20); left != 10 || s.mappings.size() != 20 {
		t.Errorf("%d left out, %d kept", left, s.mappings.size())
	}
	if what, left := s.mappings.learn(entries[:20], nil, 20); what != nothing || left != 0 {
		t.Errorf("%d of those that are known were left out", left)
	}
}
