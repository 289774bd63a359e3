package tables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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
