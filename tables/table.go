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
	changed bool            // since the snapshot was taken
	ipStale bool            // ip_table.json may have to change

	// Both, sorted. Nil after many keys came or went: to sort 100,000 rows once
	// takes as long as to find the place of a thousand.
	order []*entry[R]
	moved int // keys that came or went since somebody asked for the order

	writing sync.Mutex // puts the writes of the snapshot in order
}

// maxMoved is how many places are found one by one.
const maxMoved = 256

func (t *table[K, R]) set(e *entry[R]) {
	key := t.key(e.row)
	t.touch(t.at(key))
	t.rows[key] = e
	t.show(e)
}

func (t *table[K, R]) remove(key K) {
	old, known := t.rows[key]
	if !known {
		return
	}
	t.touch(old)
	delete(t.rows, key)
	if theirs, ok := t.learned[key]; ok {
		t.show(theirs)
	} else {
		t.hide(old)
	}
}

// at is the row that the table shows for a key, or nil.
func (t *table[K, R]) at(key K) *entry[R] {
	if e, own := t.rows[key]; own {
		return e
	}
	return t.learned[key]
}

// show puts a row into the order, in place of the one with the same key.
func (t *table[K, R]) show(e *entry[R]) {
	t.touch(e)
	if t.order == nil {
		return
	}
	switch i, known := t.place(e); {
	case known:
		t.order[i] = e
	case t.mayMove():
		t.order = slices.Insert(t.order, i, e)
	}
}

// hide takes a row out of the order.
func (t *table[K, R]) hide(e *entry[R]) {
	if t.order == nil {
		return
	}
	if i, known := t.place(e); known && t.mayMove() {
		t.order = slices.Delete(t.order, i, i+1)
	}
}

// touch is called with each row that comes and each that goes; nil is none.
func (t *table[K, R]) touch(e *entry[R]) {
	if e == nil {
		return
	}
	t.changed = true
	t.ipStale = t.ipStale || t.dialled != nil && t.dialled(e.row)
}

func (t *table[K, R]) place(e *entry[R]) (int, bool) {
	return slices.BinarySearchFunc(t.order, t.key(e.row), func(o *entry[R], key K) int { return t.compare(t.key(o.row), key) })
}

// mayMove reports whether a place is worth finding; else the order is forgotten.
func (t *table[K, R]) mayMove() bool {
	if t.moved++; t.moved > maxMoved {
		t.order = nil
	}
	return t.order != nil
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
	t.set(&entry[R]{row: row})
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

// size is how many rows are kept.
func (t *table[K, R]) size() int { return len(t.rows) + len(t.learned) }

// entries is every row, own and learned, in the order of the files. The slice is
// the caller's.
func (t *table[K, R]) entries() []*entry[R] {
	t.moved = 0
	if t.order == nil {
		t.order = make([]*entry[R], 0, t.size())
		for _, e := range t.rows {
			t.order = append(t.order, e)
		}
		for key, e := range t.learned {
			if _, own := t.rows[key]; !own {
				t.order = append(t.order, e)
			}
		}
		slices.SortFunc(t.order, t.byKey)
	}
	return slices.Clone(t.order)
}

func (t *table[K, R]) byKey(a, b *entry[R]) int { return t.compare(t.key(a.row), t.key(b.row)) }

// own is every row of this node's own, sorted. They may be a few among very many.
func (t *table[K, R]) own() []*entry[R] {
	if len(t.learned) == 0 {
		return t.entries()
	}
	return slices.SortedFunc(maps.Values(t.rows), t.byKey)
}

func rowsOf[R any](entries []*entry[R]) []R {
	rows := make([]R, len(entries))
	for i, e := range entries {
		rows[i] = e.row
	}
	return rows
}
