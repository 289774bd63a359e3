package tables

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	schema = 1

	// maxTable bounds a table file: the largest that is written, and the largest
	// that is read, has maxRows rows of 1 KiB and some.
	maxTable = 128 << 20
)

// errCorrupt marks a table file that nobody can have written like this.
var errCorrupt = errors.New("it is corrupt")

// header is what a table file says of itself, before its rows.
type header struct {
	Schema    int       `json:"schema"`
	Seq       uint64    `json:"seq"` // of the last change that is in it
	WrittenAt time.Time `json:"written_at"`
	Left      bool      `json:"left"` // the rows are kept on purpose, without a p2prc
}

// snapshot is a table file that was read: its rows are sorted.
type snapshot[R any] struct {
	header
	rows []R
}

// encodeSnapshot is a table file: the header on a line, one row per line.
func encodeSnapshot[K comparable, R any](k *kind[K, R], h header, entries []*entry[R]) ([]byte, error) {
	head, err := encode(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header of %s: %w", k.file, err)
	}
	rows := make([][]byte, len(entries))
	size := len(head) + len(k.member) + 16
	for i, e := range entries {
		if rows[i], err = e.bytes(); err != nil {
			return nil, fmt.Errorf("encoding a row of %s: %w", k.file, err)
		}
		size += len(rows[i]) + len(",\n")
	}
	if size > maxTable {
		return nil, fmt.Errorf("%s would have %d bytes, and %d is the most", k.file, size, maxTable)
	}
	out := append(make([]byte, 0, size), bytes.TrimSuffix(head, []byte("}"))...)
	out = append(out, `,"`+k.member+`":[`...)
	for i, row := range rows {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, '\n'), row...)
	}
	return append(out, "\n]}\n"...), nil
}

// readSnapshot reads the table file of k in dir. The error wraps
// fs.ErrNotExist, errNewer or errCorrupt, or it is one of reading.
func readSnapshot[K comparable, R any](dir string, k *kind[K, R]) (*snapshot[R], error) {
	f, err := os.Open(filepath.Join(dir, k.file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxTable {
		return nil, fmt.Errorf("%w: it has %d bytes, and %d is the most", errCorrupt, info.Size(), maxTable)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return decodeSnapshot(k, data)
}

func decodeSnapshot[K comparable, R any](k *kind[K, R], data []byte) (*snapshot[R], error) {
	h, raw, err := splitSnapshot(data, k.member)
	if err != nil {
		return nil, err
	}
	rows, err := decodeRows(k, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	byKey := func(a, b R) int { return k.compare(k.key(a), k.key(b)) }
	if !slices.IsSortedFunc(rows, byKey) {
		slices.SortFunc(rows, byKey)
	}
	for i := 1; i < len(rows); i++ {
		if k.key(rows[i-1]) == k.key(rows[i]) {
			return nil, fmt.Errorf("%w: it has two rows for %+v", errCorrupt, k.key(rows[i]))
		}
	}
	return &snapshot[R]{h, rows}, nil
}
