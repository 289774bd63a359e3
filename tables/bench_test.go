package tables

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"p2prc/tables/identity"
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
	s.flush()
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
				s.flush()
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
				s = openStore(b, dir, Options{})
			}
		})
	}
}

var t0 = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)

func anID(i int) identity.ID { return identity.ID(fmt.Sprintf("%032d", i)) }

func aMapping(i int) Mapping {
	return Mapping{
		ServerName: fmt.Sprintf("server-%d", i/4), Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Type: TCP,
		BindPort: uint16(20000 + i%10000), Name: fmt.Sprintf("web-%d", i),
		LocalAddress: netip.MustParseAddrPort("127.0.0.1:8080"), State: Up,
		VerifiedAt: t0, ProvedBy: "server", LeaseUntil: t0.Add(10 * time.Minute),
		NodeID: anID(i / 4), ProxyID: anID(1_000_000), Serial: uint64(i), LeaseID: fmt.Sprintf("%032x", i), Node: i%4 == 0,
	}
}

func aProxy(i int) ReverseProxy {
	ms := 12.5
	return ReverseProxy{
		ServerName: fmt.Sprintf("proxy-%d", i), Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), LatencyMS: &ms,
		State: Up, VerifiedAt: t0, NodePort: 8088, FRPPort: 7000, Ports: PortRange{20000, 29999}, PortsFree: 9990,
		Admission: AdmitToken, FRPVersion: "0.70.1", NodeID: anID(1_000_000 + i), Serial: 1,
	}
}

func openDir(tb testing.TB, path string) *Dir {
	tb.Helper()
	dir, err := OpenDir(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := dir.Close(); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func openStore(tb testing.TB, dir *Dir, o Options) *Store {
	tb.Helper()
	s, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(false); err != nil {
			tb.Error(err)
		}
	})
	return s
}
