package record_test

import (
	"fmt"
	"testing"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

const many = 100_000

// claims are as many claims of nodes with 100 each, on 50 trusted proxies.
func claims(b testing.TB, n int) (proxies []identity.Key, raws [][]byte) {
	b.Helper()
	for i := range n {
		node := keyOf(100 + i/100)
		raws = append(raws, claimText(keyOf(i/100%50), node, fmt.Sprintf("m%d", i%100), uint64(i+1), start).sign(node))
	}
	for i := range 50 {
		proxies = append(proxies, keyOf(i))
	}
	return proxies, raws
}

func fill(b testing.TB, o record.Options, proxies []identity.Key, raws [][]byte) *record.Set {
	b.Helper()
	s := record.New(o)
	for _, p := range proxies {
		s.Trust(p.ID(), true)
	}
	for i := 0; i < len(raws); i += 100 {
		if m := s.Merge(start, "", raws[i:min(i+100, len(raws))]...); len(m.Rejected) > 0 {
			b.Fatal(m.Rejected[0].Err)
		}
	}
	return s
}

func BenchmarkMerge_100k(b *testing.B) {
	proxies, raws := claims(b, many)
	for _, verify := range []bool{true, false} {
		name := "verified"
		o := record.Options{}
		if !verify {
			name, o = "not verified", unverified(record.Limits{})
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				fill(b, o, proxies, raws)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/record")
		})
	}
	s := fill(b, unverified(record.Limits{}), proxies, raws)
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			s.Merge(start, "", raws...)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/record")
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			s := fill(b, unverified(record.Limits{}), proxies, raws)
			b.ReportMetric(float64(heap()-before)/many, "B/record")
			b.ReportMetric(float64(s.Len()), "records")
		}
	})
	// What a node does while nothing changes.
	b.Run("sum", func(b *testing.B) {
		for b.Loop() {
			s.Sum()
		}
	})
	b.Run("digests", func(b *testing.B) {
		for b.Loop() {
			s.Digests()
		}
	})
	b.Run("expire, nothing due", func(b *testing.B) {
		for b.Loop() {
			s.Expire(start)
		}
	})
	b.Run("expire, a heartbeat", func(b *testing.B) {
		raw := beatText(1, start).sign(keyOf(0))
		for b.Loop() {
			if m := s.Merge(start, "", raw); len(m.Changed) != 1 {
				b.Fatal("it did not enter")
			}
			s.Expire(start.Add(record.BeatLife))
		}
	})
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			s.View(start)
		}
	})
}

func BenchmarkMerge_one(b *testing.B) {
	s := record.New(record.Options{})
	k := keyOf(0)
	var raws [][]byte
	for i := range 1000 {
		raws = append(raws, beatText(uint64(i+1), start).sign(k))
	}
	i := 0
	for b.Loop() {
		if i%len(raws) == 0 {
			s = record.New(record.Options{})
		}
		s.Merge(start, "", raws[i%len(raws)])
		i++
	}
}

func BenchmarkParse(b *testing.B) {
	raw := claimText(keyOf(0), keyOf(1), "web", 7, start).sign(keyOf(1))
	b.ReportMetric(float64(len(raw)), "B")
	for b.Loop() {
		if _, err := record.Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// A flood of records with a wrong signature, the dearest kind.
func BenchmarkMerge_forged(b *testing.B) {
	s := record.New(record.Options{})
	c := newCrowd()
	var m record.Merged
	for i := 0; b.Loop(); i++ {
		m = s.Merge(start, "", c.next(i, "heartbeat", "heartbeat", start.Add(record.BeatLife), "free 1\nload 1\n"))
	}
	if len(m.Changed) > 0 {
		b.Fatal("it entered")
	}
}
