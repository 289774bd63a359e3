package tables

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// model is what a Store must amount to: maps, and what the last snapshot holds.
type model struct {
	mappings     map[string]Mapping
	proxies      map[string]ReverseProxy
	reservations map[string]Reservation

	dir   *Dir
	store *Store
	noted map[string]bool // mappings whose last note a crash may forget
}

// TestStore_model drives a Store and maps with the same commits, notes, flushes,
// compactions, crashes and stops, and compares memory and view after each.
func TestStore_model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		path := memoryDir(t)
		defer os.RemoveAll(path)
		dir, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dir.Close() }() // the directory goes with it
		m := &model{
			mappings: map[string]Mapping{}, proxies: map[string]ReverseProxy{}, reservations: map[string]Reservation{},
			dir: dir, noted: map[string]bool{},
		}
		if m.store, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.store.Close(false) }()
		t.Repeat(rapid.StateMachineActions(m))
	})
}

// Commit commits a batch of up to three changes of each sort.
func (m *model) Commit(t *rapid.T) {
	var b Batch
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, 5), 0, 3).Draw(t, "drop") {
		b.DropMappings = append(b.DropMappings, aMapping(i).Key())
		b.DropReservations = append(b.DropReservations, aReservation(i).Key())
		delete(m.mappings, aMapping(i).Name)
		delete(m.reservations, aReservation(i).Name)
	}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 3, rapid.ID).Draw(t, "mapping") {
		r := m.draw(t, i)
		b.Mappings = append(b.Mappings, r)
		m.mappings[r.Name] = r
		delete(m.noted, r.Name)
		res := aReservation(i)
		res.Port = r.BindPort
		b.Reservations = append(b.Reservations, res)
		m.reservations[res.Name] = res
	}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 2), 0, 1, rapid.ID).Draw(t, "proxy") {
		p := aProxy(i)
		p.PortsFree = rapid.IntRange(0, 9).Draw(t, "free")
		b.Proxies = append(b.Proxies, p)
		m.proxies[p.ServerName] = p
	}
	if err := m.store.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func (m *model) draw(t *rapid.T, i int) Mapping {
	r := aMapping(i)
	r.BindPort = uint16(rapid.IntRange(20000, 20003).Draw(t, "port"))
	r.Serial = rapid.Uint64Range(0, 3).Draw(t, "serial")
	r.State = rapid.SampledFrom([]State{Up, Down, Waiting}).Draw(t, "state")
	if r.State != Up {
		r.Reason = rapid.SampledFrom([]string{"why", `a "quoted" \ reason`, "ünïcödé"}).Draw(t, "reason")
	}
	return r
}

// Note measures a mapping, perhaps one that has moved on or does not exist.
func (m *model) Note(t *rapid.T) {
	i := rapid.IntRange(0, 5).Draw(t, "mapping")
	r := m.draw(t, i)
	m.store.Note(Batch{Mappings: []Mapping{r}})
	old, ok := m.mappings[r.Name]
	if !ok || old.BindPort != r.BindPort {
		return
	}
	old.State, old.Reason = r.State, r.Reason
	m.mappings[r.Name] = old
	m.noted[r.Name] = true
}

// Flush is what Serve does.
func (m *model) Flush(*rapid.T) {
	m.store.Flush()
	clear(m.noted)
}

// Compact rewrites the journal.
func (m *model) Compact(t *rapid.T) {
	if err := m.store.rewriteJournal(); err != nil {
		t.Fatal(err)
	}
}

// Crash opens the directory again without having closed it.
func (m *model) Crash(t *rapid.T) {
	_ = m.store.journal.close() // so that no descriptor is left
	m.reopen(t, false)
}

// Stop closes it first.
func (m *model) Stop(t *rapid.T) {
	left := rapid.Bool().Draw(t, "left")
	if err := m.store.Close(left); err != nil {
		t.Fatal(err)
	}
	clear(m.noted)
	m.reopen(t, left)
}

func (m *model) reopen(t *rapid.T, left bool) {
	s, err := Open(m.dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.store = s
	for name, r := range m.mappings {
		got, ok := s.Mapping(r.Key())
		if m.noted[name] && ok { // the crash may have forgotten the note, no more
			r.State, r.Reason = got.State, got.Reason
		}
		if r.State == Up && !left {
			r.State, r.Reason = Waiting, "p2prc was started again and has not proved it yet"
		}
		m.mappings[name] = r
	}
	for name, p := range m.proxies {
		if p.State == Up && !left {
			p.State, p.Reason = Waiting, "p2prc was started again and has not proved it yet"
		}
		m.proxies[name] = p
	}
	clear(m.noted)
}

// Check compares the store and the views with the maps.
func (m *model) Check(t *rapid.T) {
	want := Batch{}
	for i := range 6 {
		if r, ok := m.mappings[aMapping(i).Name]; ok {
			want.Mappings = append(want.Mappings, r)
		}
		if r, ok := m.reservations[aReservation(i).Name]; ok {
			want.Reservations = append(want.Reservations, r)
		}
	}
	for i := range 3 {
		if p, ok := m.proxies[fmt.Sprintf("proxy-%d", i)]; ok {
			want.Proxies = append(want.Proxies, p)
		}
	}
	if diff := cmp.Diff(want, rows(m.store), exact, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("memory: %s", diff)
	}
	v, err := ReadMappings(m.dir.Path(), t0.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range v.Rows { // a note may be on its way
		if i < len(want.Mappings) && m.noted[r.Name] {
			v.Rows[i].State, v.Rows[i].Reason = want.Mappings[i].State, want.Mappings[i].Reason
		}
	}
	if diff := cmp.Diff(want.Mappings, v.Rows, exact, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("view: %s", diff)
	}
	p, err := ReadProxies(m.dir.Path(), t0.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Proxies, p.Rows, exact, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("view: %s", diff)
	}
}
