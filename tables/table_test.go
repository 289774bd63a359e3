package tables

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTable_order has rows of both sorts come, change and go, and compares with
// the two maps what a snapshot would hold.
func TestTable_order(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tab := &newStore("", Options{}).mappings
		row := func(i int, theirs bool) *entry[Mapping] {
			m := aMapping(i)
			m.Learned, m.Serial = theirs, rapid.Uint64().Draw(t, "serial")
			m.Node = rapid.Bool().Draw(t, "node")
			return &entry[Mapping]{row: m}
		}
		some := rapid.SliceOfN(rapid.IntRange(0, 2*maxMoved), 0, 10)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				for _, i := range some.Draw(t, "own") {
					tab.set(row(i, false))
				}
			},
			"remove": func(t *rapid.T) {
				for _, i := range some.Draw(t, "gone") {
					tab.remove(aMapping(i).Key())
				}
			},
			"learn": func(t *rapid.T) {
				var rows []*entry[Mapping]
				for _, i := range some.Draw(t, "theirs") {
					rows = append(rows, row(i, true))
				}
				var gone []MappingKey
				for _, i := range some.Draw(t, "lost") {
					gone = append(gone, aMapping(i).Key())
				}
				before := tab.visible()
				tab.changed, tab.ipStale = false, false
				if what, _ := tab.learn(rows, gone, maxRows); (what != nothing) != tab.changed {
					t.Fatalf("learn says %v, the table %v", what, tab.changed)
				}
				if now := tab.visible(); !tab.changed && !maps.Equal(before, now) {
					t.Fatal("the snapshot would be taken for fresh")
				} else if !tab.ipStale && !maps.Equal(nodesOf(before), nodesOf(now)) {
					t.Fatal("the IP table would be taken for fresh")
				}
			},
			"many": func(*rapid.T) {
				for i := range maxMoved + 10 {
					tab.set(&entry[Mapping]{row: aMapping(1000 + i)})
				}
			},
			"": func(t *rapid.T) {
				if !rapid.Bool().Draw(t, "look") {
					return
				}
				want := slices.SortedFunc(maps.Values(tab.visible()), tab.byKey)
				if got := tab.entries(); !slices.Equal(got, want) {
					t.Fatalf("%d rows in the order, %d in the maps", len(got), len(want))
				}
			},
		})
	})
}

// visible is what the table shows, by the maps alone.
func (t *table[K, R]) visible() map[K]*entry[R] {
	all := maps.Clone(t.learned)
	maps.Copy(all, t.rows)
	return all
}

func nodesOf(rows map[MappingKey]*entry[Mapping]) map[MappingKey]*entry[Mapping] {
	nodes := maps.Clone(rows)
	maps.DeleteFunc(nodes, func(_ MappingKey, e *entry[Mapping]) bool { return !e.row.Node })
	return nodes
}
