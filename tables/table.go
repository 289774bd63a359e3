package tables

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"
)

// entry is a row in memory. It is never changed, only replaced, so whoever got
// hold of one may read it without a lock.
type entry[R any] struct {
	row  R
	once sync.Once
	json []byte
	err  error
}

// bytes is the row as the journal and the snapshot hold it, encoded once.
func (e *entry[R]) bytes() ([]byte, error) {
	e.once.Do(func() { e.json, e.err = encode(e.row) })
	return e.json, e.err
}

// same reports whether both read the same: rows hold pointers.
func (e *entry[R]) same(o *entry[R]) bool {
	a, errA := e.bytes()
	b, errB := o.bytes()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// encode is JSON on one line that people can read: "->" stays "->".
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// table is the rows of one kind in memory; Store.mu guards all but writing.
type table[K comparable, R any] struct {
	*kind[K, R]
	rows    map[K]*entry[R] // own ones
	learned map[K]*entry[R] // of other nodes: a row of ours goes before one of theirs
	order   []K             // of both, sorted; nil after a key came or went
	changed bool            // since the snapshot was taken

	writing sync.Mutex // puts the writes of the snapshot in order
}

func (t *table[K, R]) set(e *entry[R]) {
	key := t.key(e.row)
	if _, known := t.rows[key]; !known {
		t.order = nil
	}
	t.rows[key] = e
	t.changed = true
}

func (t *table[K, R]) remove(key K) {
	if _, known := t.rows[key]; known {
		delete(t.rows, key)
		t.order = nil
	}
	t.changed = true
}

// news is what a measurement changed, each more than the one before.
type news int

const (
	nothing   news = iota
	timesOnly      // only when it was proved, and until when it is lent
	rowNews
	fell // the row is no longer up
)

// measure takes over what was measured about a row, if it is still the row
// that it was measured on.
func (t *table[K, R]) measure(r R) news {
	old, known := t.rows[t.key(r)]
	if !known {
		return nothing
	}
	row, same := t.note(old.row, r)
	if !same || any(row) == any(old.row) {
		return nothing
	}
	t.rows[t.key(r)] = &entry[R]{row: row}
	t.changed = true
	if t.proof == nil {
		return rowNews
	}
	was := old.row
	before, now := t.proof(&was), t.proof(&row)
	switch {
	case *before.state == Up && *now.state != Up:
		return fell
	case *before.state == *now.state && *before.reason == *now.reason:
		return timesOnly
	}
	return rowNews
}

// at is the row that the table shows for a key.
func (t *table[K, R]) at(key K) *entry[R] {
	if e, own := t.rows[key]; own {
		return e
	}
	return t.learned[key]
}

// size is how many rows are kept.
func (t *table[K, R]) size() int { return len(t.rows) + len(t.learned) }

// entries is every row, own and learned, in the order of the files.
func (t *table[K, R]) entries() []*entry[R] {
	if t.order == nil {
		t.order = make([]K, 0, t.size())
		for key := range t.rows {
			t.order = append(t.order, key)
		}
		for key := range t.learned {
			if _, own := t.rows[key]; !own {
				t.order = append(t.order, key)
			}
		}
		slices.SortFunc(t.order, t.compare)
	}
	out := make([]*entry[R], len(t.order))
	for i, key := range t.order {
		out[i] = t.at(key)
	}
	return out
}

// own is every row of this node's own, sorted. They may be a few among very many.
func (t *table[K, R]) own() []*entry[R] {
	if len(t.learned) == 0 {
		return t.entries()
	}
	keys := slices.SortedFunc(maps.Keys(t.rows), t.compare)
	out := make([]*entry[R], len(keys))
	for i, key := range keys {
		out[i] = t.rows[key]
	}
	return out
}

func rowsOf[R any](entries []*entry[R]) []R {
	rows := make([]R, len(entries))
	for i, e := range entries {
		rows[i] = e.row
	}
	return rows
}
