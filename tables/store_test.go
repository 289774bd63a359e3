package tables

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files anew")

func aReservation(i int) Reservation {
	return Reservation{
		NodeID: anID(i / 4), Name: fmt.Sprintf("web-%d", i), Type: TCP, Port: uint16(20000 + i),
		LeaseID: fmt.Sprintf("%032x", i), LeaseUntil: t0.Add(10 * time.Minute), UsedAt: t0,
	}
}

// The files as a user sees them: a change here is a change for whoever reads them.

func TestStore_golden(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s, err := Open(dir, Options{Now: func() time.Time { return t0 }})
	if err != nil {
		t.Fatal(err)
	}
	waiting := aMapping(1)
	waiting.State, waiting.Reason, waiting.BindPort = Waiting, `no port yet: 203.0.113.7 -> "no"`, 0
	waiting.VerifiedAt, waiting.LeaseUntil, waiting.ProvedBy, waiting.LeaseID = time.Time{}, time.Time{}, "", ""
	udp := aMapping(2)
	udp.Type = UDP
	six := aMapping(4)
	six.Address, six.ServerName = netip.MustParseAddr("2001:db8::7"), "other"
	unknown := aProxy(1)
	unknown.LatencyMS, unknown.State, unknown.Reason, unknown.Ports = nil, Down, "no answer", PortRange{}
	err = s.Commit(Batch{
		Mappings:     []Mapping{six, udp, aMapping(0), waiting},
		Proxies:      []ReverseProxy{unknown, aProxy(0)},
		Reservations: []Reservation{aReservation(0), aReservation(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Commit(Batch{DropReservations: []ReservationKey{aReservation(1).Key()}, DropMappings: []MappingKey{udp.Key()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"own.journal", "reverse_proxy_mapping.json", "reverse_proxy_server.json", "ip_table.json"} {
		got := mustRead(t, dir.Path(), file)
		golden := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(mustRead(t, golden)), string(got)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
		info, err := os.Stat(filepath.Join(dir.Path(), file))
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}

// rows is everything a store knows.

func rows(s *Store) Batch {
	return Batch{Mappings: s.Mappings(), Proxies: s.Proxies(), Reservations: s.Reservations()}
}

func TestStore_commitsSurviveACrash(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	s := openStore(t, dir, Options{})
	down := aMapping(3)
	down.State, down.Reason = Down, "the tunnel does not answer"
	b := Batch{
		Mappings: []Mapping{down}, Proxies: []ReverseProxy{aProxy(0)},
		Reservations: []Reservation{aReservation(0), aReservation(1)},
	}
	b.Proxies[0].State, b.Proxies[0].Reason = Waiting, "not asked yet"
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, rows(s), exact, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for _, file := range []string{mappingKind.file, proxyKind.file, ipTableName} { // the journal alone
		if err := os.Remove(filepath.Join(path, file)); err != nil {
			t.Fatal(err)
		}
	}
	var log logged
	again := openStore(t, dir, Options{Log: log.logger()})
	if diff := cmp.Diff(b, rows(again), exact, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if got, ok := again.Mapping(down.Key()); !ok || got != down {
		t.Errorf("%+v, %v", got, ok)
	}
	if err := again.Commit(Batch{DropMappings: []MappingKey{down.Key()}, DropReservations: []ReservationKey{aReservation(0).Key()}}); err != nil {
		t.Fatal(err)
	}
	third := openStore(t, dir, Options{Log: log.logger()})
	if got := rows(third); len(got.Mappings) != 0 || len(got.Reservations) != 1 || len(got.Proxies) != 1 {
		t.Errorf("after drops: %+v", got)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log.String())
	}
}

func TestStore_copiesAreTheCallers(t *testing.T) {
	s := openStore(t, openDir(t, t.TempDir()), Options{})
	p := aProxy(0)
	if err := s.Commit(Batch{Proxies: []ReverseProxy{p}}); err != nil {
		t.Fatal(err)
	}
	*p.LatencyMS = 1
	*s.Proxies()[0].LatencyMS = 2
	if got := *s.Proxies()[0].LatencyMS; got != 12.5 {
		t.Errorf("latency %v", got)
	}
}

// What comes from foreign machines ends up on terminals and in files with one

// row per line.

func TestNote(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	if err := s.Commit(Batch{Mappings: []Mapping{aMapping(1)}, Proxies: []ReverseProxy{aProxy(0)}, Reservations: []Reservation{aReservation(1)}}); err != nil {
		t.Fatal(err)
	}
	size := len(mustRead(t, dir.Path(), journalName))

	m, p, r := aMapping(1), aProxy(0), aReservation(1)
	m.State, m.Reason, m.VerifiedAt, m.LeaseUntil = Down, "no answer", t0.Add(time.Minute), t0.Add(time.Hour)
	p.LatencyMS, p.PortsFree, p.VerifiedAt = new(7.5), 17, t0.Add(time.Minute)
	r.PortProvedAt = t0.Add(time.Minute)
	s.Note(Batch{Mappings: []Mapping{m}, Proxies: []ReverseProxy{p}, Reservations: []Reservation{r}})
	want := Batch{Mappings: []Mapping{m}, Proxies: []ReverseProxy{p}, Reservations: []Reservation{r}}
	if diff := cmp.Diff(want, rows(s), exact); diff != "" {
		t.Error(diff)
	}

	// Measured on something else, or on nothing.
	for name, change := range map[string]func(*Mapping){
		"another lease":   func(m *Mapping) { m.LeaseID = "other" },
		"another port":    func(m *Mapping) { m.BindPort++ },
		"another address": func(m *Mapping) { m.Address = netip.MustParseAddr("203.0.113.8") },
		"an unknown row":  func(m *Mapping) { m.Name = "unknown" },
		"an invalid row":  func(m *Mapping) { m.State = "?" },
	} {
		bad := aMapping(1)
		change(&bad)
		s.Note(Batch{Mappings: []Mapping{bad}, DropMappings: []MappingKey{m.Key()}})
		if diff := cmp.Diff(want, rows(s), exact); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := len(mustRead(t, dir.Path(), journalName)); got != size {
		t.Errorf("the journal grew from %d to %d bytes", size, got)
	}

	// The next start takes what was measured from the table file.
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	s.Note(Batch{Mappings: []Mapping{aMapping(1)}})
	again := openStore(t, dir, Options{})
	if got, _ := again.Mapping(m.Key()); got != m {
		t.Errorf("after a restart: %+v", got)
	}
}

// A large table is not written before Commit returns, yet a view lists the row.

// The journal is compacted when it has grown to several times its need, and a

// reader that comes at any moment has all the same.

// A start that is refused changes nothing.
