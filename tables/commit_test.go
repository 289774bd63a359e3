package tables

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCommit_dropsBeforeItSets(t *testing.T) {
	s := openStore(t, openDir(t, t.TempDir()), Options{})
	if err := s.Commit(Batch{Mappings: []Mapping{aMapping(1)}}); err != nil {
		t.Fatal(err)
	}
	m := aMapping(1)
	m.BindPort = 4711
	if err := s.Commit(Batch{Mappings: []Mapping{m}, DropMappings: []MappingKey{m.Key()}}); err != nil {
		t.Fatal(err)
	}
	if got := s.Mappings(); len(got) != 1 || got[0] != m {
		t.Errorf("%+v", got)
	}
}

func TestCommit_refusesWhatWouldNotReadBack(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	before := mustRead(t, dir.Path(), journalName)
	mapping := func(change func(*Mapping)) Batch {
		m := aMapping(1)
		change(&m)
		return Batch{Mappings: []Mapping{aMapping(0), m}}
	}
	for name, b := range map[string]Batch{
		"name":              mapping(func(m *Mapping) { m.Name = "../x" }),
		"no state":          mapping(func(m *Mapping) { m.State = "" }),
		"protocol":          mapping(func(m *Mapping) { m.Type = "tcp" }),
		"node ID":           mapping(func(m *Mapping) { m.NodeID = "a\xff" }),
		"lease ID":          mapping(func(m *Mapping) { m.LeaseID = strings.Repeat("x", 65) }),
		"year":              mapping(func(m *Mapping) { m.VerifiedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"up without port":   mapping(func(m *Mapping) { m.BindPort = 0 }),
		"up without proxy":  mapping(func(m *Mapping) { m.Address = netip.Addr{} }),
		"ports":             {Proxies: []ReverseProxy{{State: Down, Ports: PortRange{3, 2}}}},
		"proxy state":       {Proxies: []ReverseProxy{{}}},
		"proxy up nowhere":  {Proxies: []ReverseProxy{{State: Up}}},
		"reservation":       {Reservations: []Reservation{{Name: "a", Type: TCP}}},
		"reservation's key": {Reservations: []Reservation{{Name: "a b", Type: TCP, Port: 1}}},
	} {
		if err := s.Commit(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(s.Mappings()) != 0 || string(mustRead(t, dir.Path(), journalName)) != string(before) {
		t.Error("a refused batch left something behind")
	}
	if err := s.Commit(Batch{}); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func TestCommit_cleansText(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	m := aMapping(1)
	m.State, m.Reason = Waiting, "\x1b[31mred\n\u202eevil\xff "+strings.Repeat("ä", 200)
	m.LocalAddress = netip.AddrPortFrom(netip.Addr{}, 7)
	m.VerifiedAt = time.Now() // with a monotonic clock and a zone
	up := aMapping(2)
	up.Reason = "was down"
	if err := s.Commit(Batch{Mappings: []Mapping{m, up}}); err != nil {
		t.Fatal(err)
	}
	got, _ := s.Mapping(m.Key())
	if !strings.HasPrefix(got.Reason, " [31mred  evil? ää") || len(got.Reason) > maxReason || !strings.HasSuffix(got.Reason, "ä...") {
		t.Errorf("reason %q", got.Reason)
	}
	if got, _ := s.Mapping(up.Key()); got.Reason != "" {
		t.Errorf("up with the reason %q", got.Reason)
	}
	v, err := ReadMappings(dir.Path(), t0)
	if err != nil || v.Rows[0] != got {
		t.Errorf("read back %+v, %v, want %+v", v.Rows[0], err, got)
	}
}

func TestCommit_groupsWhatWaits(t *testing.T) {
	const committers, each = 50, 20
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	var wg sync.WaitGroup
	for c := range committers {
		wg.Go(func() {
			for i := range each {
				if err := s.Commit(Batch{Reservations: []Reservation{aReservation(c*each + i)}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(s.Reservations()); got != committers*each {
		t.Errorf("%d rows, want %d", got, committers*each)
	}
	again := openStore(t, dir, Options{})
	if diff := cmp.Diff(rows(s), rows(again), exact); diff != "" {
		t.Error(diff)
	}
}

func TestRoom(t *testing.T) {
	fresh := func(rows int) change { return change{kind: "k", fresh: func() (int, bool) { return rows, true }} }
	known := change{kind: "k", fresh: func() (int, bool) { return maxRows, false }}
	grown := map[string]int{}
	if err := room([]change{fresh(maxRows - 2), known}, grown); err != nil {
		t.Error(err)
	}
	if err := room([]change{fresh(maxRows - 2), fresh(maxRows - 2)}, grown); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("one row too many: %v", err)
	}
	if err := room([]change{fresh(maxRows - 2)}, grown); err != nil {
		t.Errorf("the refused batch took room: %v", err)
	}
	if err := room([]change{fresh(maxRows - 2)}, grown); err == nil {
		t.Error("batches of one group overflow the table together")
	}
}
