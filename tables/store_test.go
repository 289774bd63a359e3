package tables

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// What comes from foreign machines ends up on terminals and in files with one
// row per line.
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

func TestCommit_fullTable(t *testing.T) {
	s := openStore(t, openDir(t, t.TempDir()), Options{})
	var b Batch
	for i := range maxRows {
		r := aReservation(1)
		r.Name = fmt.Sprintf("r-%d", i)
		b.Reservations = append(b.Reservations, r)
	}
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(Batch{Reservations: []Reservation{aReservation(1)}}); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("one row more: %v", err)
	}
	if err := s.Commit(Batch{Reservations: b.Reservations[:1], Mappings: []Mapping{aMapping(1)}}); err != nil {
		t.Errorf("a row that is known: %v", err)
	}
}

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

func TestServe_writesAtMostOnceASecondAndOnlyWhatChanged(t *testing.T) {
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
			t.Errorf("written twice in a second: %v", got)
		}
		note(2) // nothing new
		<-time.After(flushPause)
		if got := shown(); got != second {
			t.Errorf("not written after a second: %v", got)
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

// A large table is not written before Commit returns, yet a view lists the row.
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

// The journal is compacted when it has grown to several times its need, and a
// reader that comes at any moment has all the same.
func TestJournal_compaction(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	largest, shrunk := 0, false
	for i := range 1000 {
		m := aMapping(i % 7)
		m.Serial = uint64(i)
		if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
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
		if m.Serial < 993 {
			t.Errorf("%s has serial %d", m.Name, m.Serial)
		}
	}
}

func TestOpen_withdrawsWhatNothingProves(t *testing.T) {
	for _, left := range []bool{false, true} {
		t.Run(fmt.Sprintf("left %v", left), func(t *testing.T) {
			dir := openDir(t, t.TempDir())
			s := openStore(t, dir, Options{})
			if err := s.Commit(Batch{Mappings: []Mapping{aMapping(1)}, Proxies: []ReverseProxy{aProxy(0)}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(left); err != nil {
				t.Fatal(err)
			}
			want := Waiting
			if left {
				want = Up
			}
			again := openStore(t, dir, Options{})
			m, p := again.Mappings()[0], again.Proxies()[0]
			if m.State != want || p.State != want || (m.Reason == "") != left || m.VerifiedAt != t0 {
				t.Errorf("%+v, %+v", m, p)
			}
			if snap, err := readSnapshot(dir.Path(), mappingKind); err != nil || snap.Left || snap.rows[0] != m {
				t.Errorf("the table file says %+v, %v", snap, err)
			}
		})
	}
}

func TestOpen_sweepsLeftovers(t *testing.T) {
	dir := openDir(t, t.TempDir())
	for _, name := range []string{".own.journal123", ".ip_table.json77"} {
		if err := os.WriteFile(filepath.Join(dir.Path(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, dir, Options{})
	entries, err := os.ReadDir(dir.Path())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{ipTableName, "lock", journalName, "private", mappingKind.file, proxyKind.file}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	for _, name := range want {
		if strings.HasSuffix(name, ".json") && !json.Valid(mustRead(t, dir.Path(), name)) {
			t.Errorf("%s is not JSON", name)
		}
	}
}

func TestOpen_corruptTableIsKeptAndBuiltAnew(t *testing.T) {
	for name, data := range map[string]string{"zero bytes": "", "garbage": "garbage", "truncated": `{"schema":1,"seq":3,"reverse_proxy_mappings":[` + "\n{"} {
		t.Run(name, func(t *testing.T) {
			dir := openDir(t, t.TempDir())
			s := openStore(t, dir, Options{})
			if err := s.Commit(Batch{Mappings: []Mapping{aMapping(1)}}); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir.Path(), mappingKind.file)
			if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadMappings(dir.Path(), t0); !errors.Is(err, errCorrupt) {
				t.Errorf("a view says %v", err)
			}
			var log logged
			again := openStore(t, dir, Options{Log: log.logger()})
			if got := again.Mappings(); len(got) != 1 || got[0].Key() != aMapping(1).Key() {
				t.Errorf("%+v", got)
			}
			kept := corrupt(t, dir.Path())
			if len(kept) != 1 || string(mustRead(t, dir.Path(), kept[0])) != data || !strings.Contains(log.String(), kept[0]) {
				t.Errorf("kept %q, logged %s", kept, log.String())
			}
			if v, err := ReadMappings(dir.Path(), t0); err != nil || len(v.Rows) != 1 {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

func TestOpen_damagedJournal(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	s := openStore(t, dir, Options{})
	for i := range 5 {
		if err := s.Commit(Batch{Mappings: []Mapping{aMapping(i)}, Reservations: []Reservation{aReservation(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(path, journalName)
	bad := mustRead(t, file)
	at := strings.Index(string(bad), `"web-2"`)
	bad[at+1] ^= 1
	if err := os.WriteFile(file, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMappings(path, t0); !errors.Is(err, errCorrupt) {
		t.Errorf("a view says %v", err)
	}
	var log logged
	again := openStore(t, dir, Options{Log: log.logger()})
	kept := corrupt(t, path)
	if len(kept) != 1 || string(mustRead(t, path, kept[0])) != string(bad) || !strings.Contains(log.String(), kept[0]) || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("kept %q, logged %s", kept, log.String())
	}
	// The table file still has every mapping; only reservations behind the
	// damage are gone, and that was said.
	if got := rows(again); len(got.Mappings) != 5 || len(got.Reservations) != 2 {
		t.Errorf("%d mappings, %d reservations", len(got.Mappings), len(got.Reservations))
	}
	if err := again.Commit(Batch{Mappings: []Mapping{aMapping(9)}}); err != nil {
		t.Fatal(err)
	}
	if v, err := ReadMappings(path, t0); err != nil || len(v.Rows) != 6 {
		t.Errorf("%d rows, %v", len(v.Rows), err)
	}
}

func TestOpen_tornJournalIsCut(t *testing.T) {
	dir := openDir(t, t.TempDir())
	s := openStore(t, dir, Options{})
	for i := range 3 {
		if err := s.Commit(Batch{Reservations: []Reservation{aReservation(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir.Path(), journalName)
	data := mustRead(t, file)
	if err := os.WriteFile(file, data[:len(data)-20], 0o644); err != nil {
		t.Fatal(err)
	}
	var log logged
	again := openStore(t, dir, Options{Log: log.logger()})
	if got := len(again.Reservations()); got != 2 || len(corrupt(t, dir.Path())) != 0 || !strings.Contains(log.String(), "unfinished write") {
		t.Errorf("%d reservations, logged %s", got, log.String())
	}
}

// A start that is refused changes nothing.
func TestOpen_refusesANewerFormat(t *testing.T) {
	for file, data := range map[string]string{
		journalName:        string(journalOf(journalLine{1, false, kindBegin, `{"format":2}`})),
		mappingKind.file:   `{"schema":2}`,
		proxyKind.file:     `{"schema":9}`,
		"own.journal kind": string(journalOf(begin, journalLine{5, false, "tunnel", `{}`})),
	} {
		t.Run(file, func(t *testing.T) {
			dir := openDir(t, t.TempDir())
			path := filepath.Join(dir.Path(), strings.TrimSuffix(file, " kind"))
			other := filepath.Join(dir.Path(), mappingKind.file)
			for name, content := range map[string]string{other: "garbage", path: data} {
				if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if path == other {
				other = filepath.Join(dir.Path(), journalName)
				if err := os.WriteFile(other, []byte("garbage"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(dir, Options{})
			u, ok := errors.AsType[*UnusableError](err)
			if !ok || u.Path != path || u.Hint != hintNewer {
				t.Fatalf("err = %v", err)
			}
			if string(mustRead(t, path)) != data || string(mustRead(t, other)) != "garbage" || len(corrupt(t, dir.Path())) != 0 {
				t.Error("files were changed")
			}
		})
	}
}

func TestOpen_hugeFileIsNotRead(t *testing.T) {
	dir := openDir(t, t.TempDir())
	file := filepath.Join(dir.Path(), mappingKind.file)
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 1<<40); errors.Is(err, fs.ErrInvalid) {
		t.Fatal(err)
	}
	if _, err := ReadMappings(dir.Path(), t0); !errors.Is(err, errCorrupt) {
		t.Errorf("a view says %v", err)
	}
	openStore(t, dir, Options{})
	if got := corrupt(t, dir.Path()); len(got) != 1 {
		t.Errorf("kept %q", got)
	}
}
