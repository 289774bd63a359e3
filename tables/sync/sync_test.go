package sync_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
	p2psync "p2prc/tables/sync"
)

func TestReconcile(t *testing.T) {
	a, b, p := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	a.say(t, append(a.claims(t, p, 300), a.proxy(1))...)
	b.say(t, append(b.claims(t, p, 300), b.proxy(2))...)
	// Each knows something old of the other, and something is gone.
	a.set.Merge(time.Now(), "", raws(b.set)...)
	b.set.Merge(time.Now(), "", raws(a.set)...)
	a.say(t, append(a.claims(t, p, 200), a.proxy(3))...)
	b.say(t, b.claims(t, p, 250)...)
	if same(a.set, b.set)() {
		t.Fatal("nothing to do")
	}
	dialled, accepted := pair(t)
	serving := run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, a.id, accepted) })
	if err := a.sync.Reconcile(t.Context(), b.id, dialled); err != nil {
		t.Fatal(err)
	}
	if !same(a.set, b.set)() {
		t.Errorf("they differ: %d and %d records", a.set.Len(), b.set.Len())
	}
	if err := serving.end(t); err != nil {
		t.Errorf("hung up in order: %v", err)
	}
	if got := <-a.synced; got != b.id {
		t.Errorf("synced with %s", got)
	}
}

func TestAttach_streamsBothWays(t *testing.T) {
	a, b, p := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	dialled, accepted := pair(t)
	atA, atB := attach(t, a, b, dialled, accepted)
	b.say(t, b.proxy(1))
	await(t, a.set, "the proxy at a", same(a.set, b.set))
	a.say(t, a.claims(t, p, 5)...)
	await(t, b.set, "five claims at b", same(a.set, b.set))
	if err := b.own.Beat(time.Now(), record.Heartbeat{Free: 7, Load: 3}); err != nil {
		t.Fatal(err)
	}
	await(t, a.set, "the heartbeat at a", func() bool { return len(a.set.Beats(time.Now())) == 1 })
	if err := a.own.Goodbye(time.Now()); err != nil {
		t.Fatal(err)
	}
	await(t, b.set, "the goodbye at b", func() bool { return len(b.set.View(time.Now()).Claims) == 0 })
	atA.stop(t)
	if err := atB.end(t); err != nil {
		t.Error(err)
	}
}

// Who attaches to two proxies that cannot reach each other is their bridge,
// but not when they can.
func TestAttach_bridges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, s := newNode(t, nil), newNode(t, nil), newNode(t, nil)
		toA, fromA := net.Pipe()
		toB, fromB := net.Pipe()
		attach(t, s, a, toA, fromA)
		count := &counted{Conn: toB}
		attach(t, s, b, count, fromB)
		time.Sleep(time.Second) // virtual
		synctest.Wait()

		began := time.Now()
		a.say(t, a.proxy(1))
		await(t, b.set, "what a said at b", same(a.set, b.set))
		if took := time.Since(began); took < 2*time.Second || took > 10*time.Second {
			t.Errorf("bridged after %s", took)
		}
		synctest.Wait()
		before := count.sent
		a.say(t, a.proxy(2))
		b.set.Merge(time.Now(), "", raws(a.set)...) // they reach each other now
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if n := count.sent - before; n > 100 {
			t.Errorf("%d bytes of what b knew", n)
		}
	})
}

type counted struct {
	net.Conn
	sent, got int
}

func (c *counted) Write(p []byte) (int, error) {
	c.sent += len(p)
	return c.Conn.Write(p)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.got += n
	return n, err
}

// A connection that breaks in the middle leaves two sets that can go on.
func TestAttach_cutInTheMiddle(t *testing.T) {
	a, b, p := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	a.say(t, a.claims(t, p, 250)...)
	b.say(t, b.claims(t, p, 250)...)
	for _, after := range []int{3, 100, 4200, 30_000, 60_000, 100_000} {
		dialled, accepted := pair(t)
		atA, atB := attach(t, a, b, &cutting{Conn: dialled, left: after}, accepted)
		if err := atA.end(t); err == nil {
			t.Errorf("cut after %d bytes: no error", after)
		}
		_ = atB.end(t) // it sees an end, in order or not
	}
	dialled, accepted := pair(t)
	run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, a.id, accepted) })
	if err := a.sync.Reconcile(t.Context(), b.id, dialled); err != nil {
		t.Fatal(err)
	}
	if !same(a.set, b.set)() || a.set.Len() != 500 {
		t.Errorf("they differ: %d and %d records", a.set.Len(), b.set.Len())
	}
}

var errCut = errors.New("cut")

// cutting breaks after so many bytes came.
type cutting struct {
	net.Conn
	left int
}

func (c *cutting) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.Close()
		return 0, errCut
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func frame(kind byte, content string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(content)))) + string(kind) + content
}

// Whatever a peer sends, it is cut off, and is kept away for a while.
func TestServe_garbage(t *testing.T) {
	b := newNode(t, nil)
	forged := newNode(t, nil)
	forged.say(t, forged.proxy(1))
	bad := raws(forged.set)[0]
	bad[len(bad)-1] ^= 1
	withLength := func(raw []byte) string {
		return string(binary.BigEndian.AppendUint16(nil, uint16(len(raw)))) + string(raw)
	}
	for name, sent := range map[string]string{
		"a frame too large":        "\xff\xff\xff\xff\x01",
		"a hello too short":        frame(1, "x"),
		"a sum too short":          frame(2, "x"),
		"half of the digests":      frame(3, "x"),
		"a list unasked":           frame(4, "\x00\x01"),
		"an end of no list":        frame(5, ""),
		"half a key":               frame(6, "x"),
		"too many keys":            frame(6, strings.Repeat("x", 16*600)),
		"too many wants":           strings.Repeat(frame(6, strings.Repeat("x", 16*500)), 2000),
		"half a record":            frame(7, "x"),
		"a record longer than it":  frame(7, "\x01\x00x"),
		"a record that is none":    frame(7, "\x00\x03abc"),
		"a forged record":          frame(7, withLength(bad)),
		"an answer to no question": frame(8, ""),
		"digests without end":      strings.Repeat(frame(3, strings.Repeat("x", 4096)), 50),
	} {
		t.Run(name, func(t *testing.T) {
			peer := identity.NewKey().ID()
			dialled, accepted := pair(t)
			serving := run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, peer, accepted) })
			go io.WriteString(dialled, sent) // it may be cut off while it writes
			if err := serving.end(t); err == nil {
				t.Error("no error")
			}
			refused := make(chan struct{})
			conn, far := pair(t)
			go func() {
				defer close(refused)
				b.sync.Speak(t.Context(), peerapi.Peer{ID: peer}, far, func() error { return nil })
				far.Close()
			}()
			err := newNode(t, nil).sync.Attach(t.Context(), b.id, conn)
			if r, ok := errors.AsType[*p2psync.RefusedError](err); !ok || !strings.Contains(r.Reason, "cut off") {
				t.Errorf("the next time: %v", err)
			}
			<-refused
		})
	}
	if b.set.Len() != 0 {
		t.Errorf("%d records entered", b.set.Len())
	}
}

// A frame that this version does not know is no harm.
func TestServe_unknownFrame(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	dialled, accepted := pair(t)
	if _, err := io.WriteString(dialled, frame(99, "news from later")); err != nil {
		t.Fatal(err)
	}
	attach(t, a, b, dialled, accepted)
	b.say(t, b.proxy(1))
	await(t, a.set, "the proxy at a", same(a.set, b.set))
}

// Nobody holds a connection by saying nothing, or half a frame.
func TestServe_silence(t *testing.T) {
	for name, sent := range map[string]string{"nothing": "", "half a frame": "\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newNode(t, nil)
				near, far := net.Pipe()
				defer near.Close()
				go io.Copy(io.Discard, near)
				go io.WriteString(near, sent)
				began := time.Now()
				if err := b.sync.Serve(t.Context(), "x", far); err == nil {
					t.Error("no error")
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("after %s", took)
				}
			})
		})
	}
}

// Who does not read is cut off, and costs no memory until then.
func TestServe_slowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newNode(t, nil)
		near, far := net.Pipe()
		defer near.Close()
		go io.WriteString(near, frame(1, "12345678")+frame(3, strings.Repeat("x", 4096)))
		began := time.Now()
		done := run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, "x", far) })
		for range 3000 {
			b.say(t, b.proxy(int(time.Now().UnixMilli()%250)))
			time.Sleep(time.Millisecond)
		}
		if err := <-done.ended; err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("after %s", took)
		}
	})
}

// More news than a connection takes: the digests are compared instead.
func TestAttach_overflow(t *testing.T) {
	for _, end := range []string{"accepting", "dialling"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, p := newNode(t, nil), newNode(t, nil), newNode(t, nil)
				toB, fromA := net.Pipe()
				attach(t, a, b, toB, fromA)
				time.Sleep(time.Second)
				synctest.Wait()
				from := b
				if end == "dialling" {
					from = a
				}
				// Nobody else runs while this goes on: all of it is one burst.
				from.say(t, from.claims(t, p, 1200)...)
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if a.set.Len() != 1200 || !same(a.set, b.set)() {
					t.Errorf("%d and %d records", a.set.Len(), b.set.Len())
				}
			})
		})
	}
}

// What a set has no room for is not offered to it for ever.
func TestAttach_stubborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newNodeOf(t, record.Options{Limits: record.Limits{Unverified: 10}}, nil)
		b, p := newNode(t, nil), newNode(t, nil)
		b.say(t, b.claims(t, p, 100)...)
		toB, fromA := net.Pipe()
		count := &counted{Conn: toB}
		attach(t, a, b, count, fromA)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := (count.sent + count.got) / 3600; n > 100 {
			t.Errorf("%d bytes/s", n)
		}
	})
}

// What there was no room for is asked for again once its reverse proxy is trusted.
func TestAttach_trusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newNodeOf(t, record.Options{Limits: record.Limits{Unverified: 10}}, nil)
		b, p := newNode(t, nil), newNode(t, nil)
		b.say(t, b.claims(t, p, 100)...)
		toB, fromA := net.Pipe()
		attach(t, a, b, toB, fromA)
		time.Sleep(20 * time.Minute) // the pause between comparisons has grown
		synctest.Wait()
		if n := a.set.Len(); n != 10 {
			t.Fatalf("%d records", n)
		}
		a.set.Trust(p.id, true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !same(a.set, b.set)() {
			t.Errorf("%d of %d records", a.set.Len(), b.set.Len())
		}
	})
}

// A flood is slowed down to what one node may cost.
func TestServe_flood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		verified := 0
		b := newNodeOf(t, record.Options{Verify: func(*record.Record) error { verified++; return nil }}, nil)
		x := newNode(t, nil)
		near, far := net.Pipe()
		go io.Copy(io.Discard, near)
		serving := run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, x.id, far) })
		began := time.Now()
		sent := 0
		for time.Since(began) < time.Minute {
			x.say(t, x.proxy(sent%250))
			raw := raws(x.set)[0]
			for _, r := range raws(x.set) {
				raw = r
			}
			if _, err := io.WriteString(near, frame(7, string(binary.BigEndian.AppendUint16(nil, uint16(len(raw))))+string(raw))); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		near.Close()
		_ = serving.end(t)
		if most := 4096 + 61*200; verified > most || sent > most+1 {
			t.Errorf("%d records in a minute, %d verified", sent, verified)
		}
	})
}

func TestSpeak_overThePublicPort(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, func(o *p2psync.Options) {
		o.Allow = func(p peerapi.Peer) error {
			if p.Name != "" || p.ID == "" {
				return errors.New("who is that?")
			}
			return nil
		}
	})
	b.say(t, b.proxy(1))
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := peerapi.NewPort(ln, peerapi.PortOptions{
		Key: b.key, Info: func() peerapi.ServerInfo { return peerapi.ServerInfo{} },
		Protocols: map[string]peerapi.Protocol{peerapi.ALPNSync: b.sync.Speak},
	})
	serving := run(t, port.Serve)
	conn, peer, err := peerapi.DialProtocol(t.Context(), peerapi.DialOptions{
		Key: a.key, ALPN: peerapi.ALPNSync, Pin: b.id, Host: "127.0.0.1", Port: uint16(ln.Addr().(*net.TCPAddr).Port),
	})
	if err != nil {
		t.Fatal(err)
	}
	atA := run(t, func(ctx context.Context) error { return a.sync.Attach(ctx, peer, conn) })
	await(t, a.set, "the proxy at a", same(a.set, b.set))
	a.say(t, a.proxy(2))
	await(t, b.set, "the proxy at b", same(a.set, b.set))
	serving.stop(t)
	if err := atA.end(t); err != nil {
		t.Logf("the dialling end: %v", err) // closed in order or not, depending on what was under way
	}
}

func TestSpeak_refused(t *testing.T) {
	b := newNode(t, func(o *p2psync.Options) {
		o.Allow = func(peerapi.Peer) error { return errors.New("this mesh is private\x1b[31m") }
	})
	b.say(t, b.proxy(1))
	dialled, accepted := pair(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer accepted.Close()
		b.sync.Speak(t.Context(), peerapi.Peer{ID: "x"}, accepted, func() error { return nil })
	}()
	a := newNode(t, nil)
	err := a.sync.Reconcile(t.Context(), b.id, dialled)
	if r, ok := errors.AsType[*p2psync.RefusedError](err); !ok || r.Reason != "this mesh is private?[31m" {
		t.Errorf("got %v", err)
	}
	<-ended
	if a.set.Len() != 0 {
		t.Error("it got records")
	}
}
