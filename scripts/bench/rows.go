package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// row is what the bench reads of a row in reverse_proxy_mapping.json.
type row struct {
	Name       string    `json:"name"`
	BindPort   int       `json:"bind_port"`
	State      string    `json:"state"`
	VerifiedAt time.Time `json:"verified_at"`
	NodeID     string    `json:"node_id"`
	Node       bool      `json:"node"` // the server's own port, not a --map
}

// table follows a mapping table on disk as any other program would: a stat,
// and a read when the file was replaced. p2prc does not notice.
type table struct {
	path string
	seen fs.FileInfo // of the file that rows were read from
	rows []row
}

func mappingTable(stateDir string) *table {
	return &table{path: filepath.Join(stateDir, "reverse_proxy_mapping.json")}
}

// refresh reads the file if it is another one than last time. While there is
// none, or none that can be read, the rows stay as they were.
func (t *table) refresh() {
	info, err := os.Stat(t.path)
	if err != nil || (t.seen != nil && os.SameFile(info, t.seen) && info.ModTime().Equal(t.seen.ModTime())) {
		return
	}
	text, err := os.ReadFile(t.path)
	if err != nil {
		return
	}
	var file struct {
		Rows []row `json:"reverse_proxy_mappings"`
	}
	if json.Unmarshal(text, &file) == nil {
		t.seen, t.rows = info, file.Rows
	}
}

// proved are the rows of a --map that say up and were proved since then. The
// table's stamps have milliseconds.
func (t *table) proved(since time.Time) []row {
	t.refresh()
	var up []row
	for _, r := range t.rows {
		if !r.Node && r.State == "up" && !r.VerifiedAt.Before(since.Truncate(time.Millisecond)) {
			up = append(up, r)
		}
	}
	return up
}
