package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTable_proved(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 400_900_000, time.UTC) // 900 us after a stamp
	const head, tail = `{"schema":1,"reverse_proxy_mappings":[`, `]}`
	for _, tc := range []struct {
		name, rows string
		want       int
	}{
		{"up since", `{"name":"m","state":"up","verified_at":"2026-03-01T12:00:00.401Z"}`, 1},
		{"up in the same millisecond", `{"name":"m","state":"up","verified_at":"2026-03-01T12:00:00.4Z"}`, 1},
		{"up before", `{"name":"m","state":"up","verified_at":"2026-03-01T12:00:00.399Z"}`, 0},
		{"down since", `{"name":"m","state":"down","verified_at":"2026-03-01T12:00:01Z"}`, 0},
		{"never proved", `{"name":"m","state":"waiting"}`, 0},
		{"the server's own port", `{"name":"p2prc","state":"up","verified_at":"2026-03-01T12:00:01Z","node":true}`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := mappingTable(t.TempDir())
			if got := tab.proved(start); got != nil {
				t.Fatalf("without a file: %v", got)
			}
			replace(t, tab.path, head+tc.rows+tail)
			if got := tab.proved(start); len(got) != tc.want {
				t.Errorf("got %v, want %d rows", got, tc.want)
			}
		})
	}
}

func TestTable_followsReplacedFile(t *testing.T) {
	tab := mappingTable(t.TempDir())
	replace(t, tab.path, `{"reverse_proxy_mappings":[{"name":"m","state":"up","verified_at":"2026-03-01T12:00:00Z"}]}`)
	if got := tab.proved(time.Time{}); len(got) != 1 {
		t.Fatalf("got %v, want one row", got)
	}
	replace(t, tab.path, `{"reverse_proxy_mappings":[`) // which p2prc never writes
	if got := tab.proved(time.Time{}); len(got) != 1 {
		t.Errorf("after an unreadable file: got %v, want the row of before", got)
	}
	replace(t, tab.path, `{"reverse_proxy_mappings":[]}`)
	if got := tab.proved(time.Time{}); len(got) != 0 {
		t.Errorf("after it was emptied: got %v", got)
	}
}

// replace writes as p2prc does: beside, then renamed.
func replace(t *testing.T, path, text string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(path), "beside")
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, path); err != nil {
		t.Fatal(err)
	}
}
