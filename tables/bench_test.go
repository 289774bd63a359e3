package tables

import (
	"fmt"
	"testing"
	"time"
)

// sizes are the tables that the figures of the design are about.
var sizes = []int{10, 1_000, 10_000, 100_000}

// filled is a store with n mappings, written out.
func filled(tb testing.TB, n int) (*Dir, *Store) {
	tb.Helper()
	dir := openDir(tb, tb.TempDir())
	s := openStore(tb, dir, Options{})
	b := Batch{Proxies: []ReverseProxy{aProxy(0)}}
	for i := range n {
		b.Mappings = append(b.Mappings, aMapping(i))
	}
	if err := s.Commit(b); err != nil {
		tb.Fatal(err)
	}
	s.Flush()
	return dir, s
}

func BenchmarkCommit(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, s := filled(b, n)
			for i := 0; b.Loop(); i++ {
				m := aMapping(i % n)
				m.Serial = uint64(i)
				if err := s.Commit(Batch{Mappings: []Mapping{m}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCommitParallel(b *testing.B) {
	_, s := filled(b, 10_000)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := s.Commit(Batch{Mappings: []Mapping{aMapping(i % 10_000)}}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkReadMappings(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir, _ := filled(b, n)
			for b.Loop() {
				v, err := ReadMappings(dir.Path(), t0)
				if err != nil || len(v.Rows) != n {
					b.Fatal(len(v.Rows), err)
				}
			}
		})
	}
}

func BenchmarkFlush(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, s := filled(b, n)
			for i := 0; b.Loop(); i++ {
				m := aMapping(i % n)
				m.VerifiedAt = t0.Add(time.Duration(i))
				s.Note(Batch{Mappings: []Mapping{m}})
				s.Flush()
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir, s := filled(b, n)
			for b.Loop() {
				if err := s.Close(false); err != nil {
					b.Fatal(err)
				}
				var err error
				if s, err = Open(dir, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(false); err != nil {
				b.Fatal(err)
			}
		})
	}
}
