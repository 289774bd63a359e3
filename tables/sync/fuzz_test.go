package sync_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
	p2psync "p2prc/tables/sync"
)

// Whatever the other end sends, this one ends without harm, and nothing that is
// not signed enters.
func fuzzFrames(f *testing.F, serve func(s *p2psync.Syncer, conn net.Conn) error) {
	a := newNode(f, nil)
	a.say(f, append(a.claims(f, a, 3), a.proxy(1))...)
	for _, s := range []string{
		"", frame(1, "12345678"), frame(2, "1234567890123456\x01"), frame(3, string(make([]byte, 4096))), frame(4, "\x00\x01"),
		frame(4, "\x07\x00"+string(make([]byte, 80))), frame(5, ""), frame(6, string(make([]byte, 32))), frame(7, "\x00\x03abc"),
		frame(8, ""), frame(9, "no"), frame(5, "") + frame(8, ""), "\x00\x00\x40\x01\x01",
	} {
		f.Add([]byte(s))
	}
	for _, raw := range raws(a.set) {
		f.Add([]byte(frame(7, string([]byte{byte(len(raw) >> 8), byte(len(raw))})+string(raw))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set := record.New(record.Options{})
		set.Merge(time.Now(), "", raws(a.set)...)
		known := set.Len()
		near, far := net.Pipe()
		go io.Copy(io.Discard, near)
		go func() {
			near.Write(b)
			near.Close()
		}()
		_ = serve(p2psync.New(p2psync.Options{Set: set, Self: identity.ID("self")}), far) // any end is right
		for _, r := range set.All(time.Now()) {
			if r.Verify() != nil {
				t.Errorf("it took %q", r.Raw())
			}
		}
		if set.Len() < known {
			t.Error("it lost what it had")
		}
	})
}

func FuzzServe(f *testing.F) {
	fuzzFrames(f, func(s *p2psync.Syncer, c net.Conn) error { return s.Serve(context.Background(), "x", c) })
}

func FuzzAttach(f *testing.F) {
	fuzzFrames(f, func(s *p2psync.Syncer, c net.Conn) error { return s.Attach(context.Background(), "x", c) })
}

func FuzzReconcile(f *testing.F) {
	fuzzFrames(f, func(s *p2psync.Syncer, c net.Conn) error { return s.Reconcile(context.Background(), "x", c) })
}
