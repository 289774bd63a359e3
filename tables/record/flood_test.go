package record_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// crowd makes records of identities that nobody can tell from real ones, but
// for their signatures, which the tests that use it do not check.
type crowd struct {
	public ed25519.PublicKey
	buf    []byte
}

func newCrowd() *crowd { return &crowd{public: make(ed25519.PublicKey, ed25519.PublicKeySize)} }

// next is a record of the n-th identity.
func (c *crowd) next(n int, kind, subject string, expires time.Time, fields string) []byte {
	binary.BigEndian.PutUint64(c.public, uint64(n))
	b := append(c.buf[:0], "p2prc-record-v1\n"...)
	b = append(b, kind...)
	b = append(b, '\n')
	b = append(b, identity.IDOf(c.public)...)
	b = append(b, '\n')
	b = base64.RawStdEncoding.AppendEncode(b, c.public)
	b = append(b, '\n')
	b = append(b, subject...)
	b = append(b, "\n1\n"...)
	b = start.AppendFormat(b, time.RFC3339)
	b = append(b, '\n')
	b = expires.AppendFormat(b, time.RFC3339)
	b = append(b, '\n')
	b = append(b, fields...)
	c.buf = append(b, make([]byte, ed25519.SignatureSize)...)
	return c.buf
}

func (c *crowd) proxy(n int) []byte {
	return c.next(n, "proxy", "proxy", start.Add(record.MaxLife), fmt.Sprintf(
		"address 10.%d.%d.%d\nadmission open\nfree 9\nfrp-port 7000\nfrp-version 0.70.1\nname n%d\nnode-port 8088\npool 20000-29999\nversion 1\n",
		n>>16&0xff, n>>8&0xff, n&0xff, n))
}

func unverified(l record.Limits) record.Options {
	return record.Options{Limits: l, Verify: func(*record.Record) error { return nil }}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million identities of every kind: what they may take is bounded, and what
// was known, or is verified, keeps its place and finds room.
func TestSet_aMillionIdentities(t *testing.T) {
	identities := 1_000_000
	if raced {
		identities = 200_000 // `make simulation` takes them all
	}
	before := heap()
	s := record.New(unverified(record.Limits{}))
	old := proxyText(1, start).sign(keyOf(0))
	merge(t, s, start, old)
	c := newCrowd()
	kinds := []func(n int) []byte{
		c.proxy,
		func(n int) []byte {
			return c.next(n, "heartbeat", "heartbeat", start.Add(record.BeatLife), "free 1\nload 1\n")
		},
		func(n int) []byte { return c.next(n, "gone", "*", start.Add(record.MaxLife), "") },
		func(n int) []byte { return c.next(n, "gone", "proxy", start.Add(record.MaxLife), "") },
	}
	entered := 0
	for n := range identities {
		m := s.Merge(start, "", kinds[n%len(kinds)](n))
		entered += len(m.Changed)
		if len(m.Rejected) > 0 && !errors.Is(m.Rejected[0].Err, record.ErrQuota) {
			t.Fatal(m.Rejected[0].Err)
		}
	}
	// 4,096 proxies, as many heartbeats, 10,000 deletions.
	if entered > 18_192 || s.Len() != entered+1 {
		t.Errorf("%d of %d entered, %d are known", entered, identities, s.Len())
	}
	used := heap() - before
	t.Logf("%d records, %d MB", s.Len(), used>>20)
	if used > 64<<20 {
		t.Errorf("%d MB of memory", used>>20)
	}
	if s.Get(keyOf(0).ID(), record.SubjectProxy, start) == nil {
		t.Error("what was known is gone")
	}
	// It may be renewed, and a verified one has room of its own.
	merge(t, s, start, proxyText(2, start).sign(keyOf(0)))
	if m := s.Merge(start, "", proxyText(1, start).sign(keyOf(1))); len(m.Changed) > 0 {
		t.Error("a newcomer found room")
	}
	s.Trust(keyOf(1).ID(), true)
	merge(t, s, start, proxyText(1, start).sign(keyOf(1)), beatText(2, start).sign(keyOf(1)))
	for i := range 1000 {
		merge(t, s, start, claimText(keyOf(1), keyOf(2), fmt.Sprintf("m%d", i), uint64(i+1), start).sign(keyOf(2)))
	}
	// A day later nothing of the crowd is left.
	s.Expire(start.Add(record.MaxLife))
	if s.Len() != 0 {
		t.Errorf("%d records are left", s.Len())
	}
	runtime.KeepAlive(s)
}

func TestSet_quotas(t *testing.T) {
	full := func(t *testing.T, s *record.Set, raw []byte) {
		t.Helper()
		m := s.Merge(start, "", raw)
		if len(m.Rejected) != 1 || !errors.Is(m.Rejected[0].Err, record.ErrQuota) || m.Bad() != nil {
			t.Errorf("got %+v", m)
		}
	}
	t.Run("of one node", func(t *testing.T) {
		s := record.New(record.Options{Limits: record.Limits{Owner: 3}})
		for i := range 3 {
			merge(t, s, start, claimText(keyOf(0), keyOf(1), fmt.Sprintf("m%d", i), 1, start).sign(keyOf(1)))
		}
		full(t, s, claimText(keyOf(0), keyOf(1), "m3", 1, start).sign(keyOf(1)))
		merge(t, s, start, claimText(keyOf(0), keyOf(1), "m2", 2, start).sign(keyOf(1)), claimText(keyOf(0), keyOf(2), "m3", 1, start).sign(keyOf(2)))
	})
	t.Run("of one reverse proxy", func(t *testing.T) {
		s := record.New(record.Options{Limits: record.Limits{Sponsored: 3}})
		for i := range 3 {
			merge(t, s, start, claimText(keyOf(0), keyOf(1+i), "m", 1, start).sign(keyOf(1+i)))
		}
		full(t, s, claimText(keyOf(0), keyOf(4), "m", 1, start).sign(keyOf(4)))
		full(t, s, domainText(keyOf(0), keyOf(4), "m", 1, start).sign(keyOf(4)))
		merge(t, s, start, domainText(keyOf(0), keyOf(1), "m", 2, start).sign(keyOf(1)))
		full(t, s, domainText(keyOf(0), keyOf(4), "m", 1, start).sign(keyOf(4)))
		merge(t, s, start, claimText(keyOf(5), keyOf(4), "m", 1, start).sign(keyOf(4)))
	})
	t.Run("of a neighbourhood", func(t *testing.T) {
		s := record.New(record.Options{Limits: record.Limits{Block: 2}})
		merge(t, s, start, proxyText(1, start).sign(keyOf(0)), proxyText(1, start).with("address 198.51.100.8").sign(keyOf(1)))
		full(t, s, proxyText(1, start).with("address 198.51.100.9").sign(keyOf(2)))
		merge(t, s, start, proxyText(1, start).with("address 198.51.101.9").sign(keyOf(2)))
		// One moves away: its place is free.
		merge(t, s, start, proxyText(2, start).with("address 198.51.102.9").sign(keyOf(0)), proxyText(1, start).sign(keyOf(3)))
	})
	t.Run("in all", func(t *testing.T) {
		self := signer(t, keyOf(3), func() time.Time { return start })
		s := record.New(record.Options{Self: self, Limits: record.Limits{Records: 2}})
		merge(t, s, start, proxyText(1, start).sign(keyOf(0)), proxyText(1, start).sign(keyOf(1)))
		full(t, s, proxyText(1, start).sign(keyOf(2)))
		own, err := self.Sign(&record.Heartbeat{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Own(start, own); err != nil || s.Len() != 3 {
			t.Errorf("an own one: %v, %d records", err, s.Len())
		}
		full(t, s, beatText(2, start).sign(keyOf(2)))
		full(t, s, goneText("*", 2, start).sign(keyOf(2)))
	})
	t.Run("in all, but what matters", func(t *testing.T) {
		s := record.New(record.Options{Limits: record.Limits{Records: 20, Unverified: 2}})
		merge(t, s, start, proxyText(1, start).sign(keyOf(0)), proxyText(1, start).sign(keyOf(1)))
		full(t, s, proxyText(1, start).sign(keyOf(2)))
		merge(t, s, start, beatText(2, start).sign(keyOf(0)), goneText("*", 2, start).sign(keyOf(1)))
		s.Trust(keyOf(2).ID(), true)
		merge(t, s, start, beatText(2, start).sign(keyOf(2)), proxyText(1, start).sign(keyOf(2)))
	})
}

func TestSet_shun(t *testing.T) {
	s := record.New(record.Options{})
	proxy := proxyText(1, start).sign(keyOf(0))
	claim := claimText(keyOf(0), keyOf(1), "web", 1, start).sign(keyOf(1))
	other := claimText(keyOf(2), keyOf(1), "web", 1, start).sign(keyOf(1))
	merge(t, s, start, proxy, claim, other)
	w := s.Watch(10)
	defer w.Close()
	s.Shun(keyOf(0).ID(), start.Add(time.Hour))
	if s.Len() != 1 {
		t.Errorf("%d records are left", s.Len())
	}
	if ch, _ := w.Take(); len(ch) != 2 || !ch[0].Void || !ch[1].Void {
		t.Errorf("got %v", ch)
	}
	for _, raw := range [][]byte{proxy, claim} {
		if m := s.Merge(start, "", raw); len(m.Rejected) != 1 || !errors.Is(m.Rejected[0].Err, record.ErrShunned) {
			t.Errorf("got %+v", m)
		}
	}
	later := start.Add(time.Hour)
	s.Expire(later)
	merge(t, s, later, proxy, claim)
	empty := record.New(record.Options{})
	merge(t, empty, start, other, proxy, claim)
	if s.Sum() != empty.Sum() {
		t.Error("the digest is wrong by now")
	}
}
