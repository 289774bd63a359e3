package mesh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/mesh"
	"p2prc/tables/peerapi"
)

// rogue is a proxy with a valid record, and no mesh: what it says is the test's.
type rogue struct {
	key identity.Key
	at  mesh.Seed
}

// newRogue makes one that n vouches for.
func newRogue(n *node) *rogue {
	r := &rogue{key: identity.NewKey()}
	r.at = mesh.Seed{ID: r.key.ID(), At: n.at} // it listens nowhere
	n.Deliver([]byte("proxy " + r.at.String()))
	return r
}

// dial opens a connection to n and says something on it.
func (r *rogue) dial(t testing.TB, n *node, say ...[]byte) *tls.Conn {
	t.Helper()
	o := peerapi.DialOptions{Key: r.key, ALPN: peerapi.ALPNMesh, Pin: n.id()}.At(n.at)
	conn, _, err := peerapi.DialProtocol(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	for _, b := range say {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// welcomed dials and is let in.
func (r *rogue) welcomed(t testing.TB, n *node, kind byte) *tls.Conn {
	t.Helper()
	conn := r.dial(t, n, mesh.Hello(kind, r.at, nil, nil))
	var yes [1]byte
	if _, err := io.ReadFull(conn, yes[:]); err != nil || yes[0] != 1 {
		t.Fatalf("answer %d, %v", yes[0], err)
	}
	return conn
}

// isCut reports whether the other end ends the connection before the test does.
func isCut(conn net.Conn) bool {
	_, err := io.Copy(io.Discard, conn)
	ne, ok := err.(net.Error)
	return !ok || !ne.Timeout()
}

func TestHandle_refuses(t *testing.T) {
	w := newWorld(t)
	n := w.build(2, nil)[0]
	r := newRogue(n)
	stranger := mesh.Seed{ID: r.at.ID, At: netip.MustParseAddrPort("192.0.2.7:8088")}
	proof := make([]byte, identity.JoinProofSize)
	for _, tt := range []struct {
		name string
		say  []byte
		want []byte
	}{
		{"an address that is not in its record", mesh.Hello('p', stranger, nil, nil), []byte{0, 2}},
		{"the address of somebody else", mesh.Hello('s', n.seed(), nil, nil), []byte{1}}, // the rogue's record has it too
		{"a proof where none is asked for", mesh.Hello('p', r.at, nil, proof), []byte{0, 1}},
		{"another version", append([]byte{9}, mesh.Hello('p', r.at, nil, nil)[1:]...), nil},
		{"another kind", mesh.Hello('x', r.at, nil, nil), nil},
		{"a record without end", mesh.Hello('p', r.at, make([]byte, mesh.MaxRecord+1), nil), nil},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := r.dial(t, n, tt.say)
			conn.CloseWrite()
			got, err := io.ReadAll(conn)
			if ne, ok := err.(net.Error); ok && ne.Timeout() || !bytes.Equal(got, tt.want) {
				t.Errorf("answer % x, %v; want % x", got, err, tt.want)
			}
		})
	}
}

// What no member sends ends the connection, and nothing else.
func TestHandle_garbageIsCutOff(t *testing.T) {
	w := newWorld(t)
	all := w.build(3, nil)
	n := all[0]
	r := newRogue(n)
	compound := func(parts ...string) []byte {
		b := []byte{7, byte(len(parts))}
		for _, p := range parts {
			b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		}
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		kind byte
		say  []byte
	}{
		{"an unknown kind of message", 'p', mesh.Frame([]byte{99, 1, 2, 3})},
		{"a compressed packet", 'p', mesh.Frame([]byte{9, 1, 2, 3})},
		{"one inside another", 'p', mesh.Frame(compound("\x09zip"))},
		{"with a checksum", 'p', mesh.Frame([]byte{12, 0, 0, 0, 0, 10, 1})},
		{"nested packets", 'p', mesh.Frame(compound(string(compound("\x02x"))))},
		{"a compound of too little", 'p', mesh.Frame([]byte{7, 200, 0, 1})},
		{"a compound of nothing", 'p', mesh.Frame(compound("", ""))},
		{"a state in a packet", 'p', mesh.Frame([]byte{6, 0x80})},
		{"a record that is too long", 'p', mesh.Frame(append([]byte{8}, make([]byte, mesh.MaxRecord+2)...))},
		{"a packet that is too long", 'p', []byte{0xff, 0xff, 2}},
		{"no packets at all", 'p', []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a record by stream", 's', []byte{8, 0x81, 0xaa}},
		{"a compressed stream", 's', []byte{9, 0x82}},
		{"a stream with a label", 's', []byte{244, 3, 'a', 'b', 'c', 0}},
		{"a million members", 's', pushPull(1<<20, 0)},
		{"less than no members", 's', pushPull(-1, 0)},
		{"megabytes of digests", 's', pushPull(1, 20<<20)},
		{"half a million bytes of nothing", 's', append(pushPull(1, 0), make([]byte, 1<<19)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := r.welcomed(t, n, tt.kind)
			_, _ = conn.Write(tt.say) // it may be cut off before all is sent
			if !isCut(conn) {
				t.Error("the connection stays")
			}
			r = newRogue(n) // a rogue may open few connections in a short time
		})
	}
	record := []byte("still there")
	n.Deliver(record)
	n.mesh.Broadcast(record)
	w.await("the mesh goes on", func() bool { return complete(all) && allKnow(all, record) })
}

// pushPull is the head of a push/pull, as memberlist encodes it, and some room.
func pushPull(members, state int32) []byte {
	number := func(b []byte, name string, n int32) []byte {
		b = append(append(b, 0xa0|byte(len(name))), name...)
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(n))
	}
	b := []byte{6, 0x83}
	b = number(b, "Nodes", members)
	b = number(b, "UserStateLen", state)
	b = append(append(b, 0xa4), "Join"...)
	return append(append(b, 0xc2), make([]byte, 64)...)
}

func TestHandle_floodIsCutOff(t *testing.T) {
	w := newWorld(t)
	all := w.build(3, nil)
	n := all[0]
	for name, packet := range map[string][]byte{
		"signs of life": {},
		"answers":       {2, 0x81, 0xa5, 'S', 'e', 'q', 'N', 'o', 1},
		"records":       append([]byte{8}, make([]byte, 1000)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRogue(n)
			conn := r.welcomed(t, n, 'p')
			many := bytes.Repeat(mesh.Frame(packet), 100)
			var err error
			for start := time.Now(); err == nil; {
				if time.Since(start) > wait {
					t.Fatal("it is never cut off")
				}
				_, err = conn.Write(many)
			}
			if again := r.welcomed(t, n, 'p'); again != nil {
				for err = nil; err == nil; {
					_, err = again.Write(many)
				}
			}
		})
	}
	t.Run("streams", func(t *testing.T) {
		r := newRogue(n)
		for range 100 {
			conn := r.dial(t, n, mesh.Hello('s', r.at, nil, nil))
			var b [1]byte
			_, err := io.ReadFull(conn, b[:])
			conn.Close()
			if err == nil && b[0] == 0 {
				return
			}
		}
		t.Error("it may open as many as it likes")
	})
	record := []byte("still there")
	n.Deliver(record)
	n.mesh.Broadcast(record)
	w.await("the mesh goes on", func() bool { return complete(all) && allKnow(all, record) })
}

// A peer that takes nothing, or does not even greet, holds nobody up.
func TestWriteTo_neverBlocks(t *testing.T) {
	w := newWorld(t)
	n := w.build(2, nil)[0]
	for name, protocol := range map[string]peerapi.Protocol{
		"does not greet": func(ctx context.Context, _ peerapi.Peer, _ net.Conn, _ func() error) { <-ctx.Done() },
		"does not read": func(ctx context.Context, _ peerapi.Peer, conn net.Conn, admit func() error) {
			_ = admit()
			_, _ = conn.Write([]byte{1})
			<-ctx.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := w.listen()
			if err != nil {
				t.Fatal(err)
			}
			key := identity.NewKey()
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				peerapi.NewPort(ln, peerapi.PortOptions{Key: key, Protocols: map[string]peerapi.Protocol{peerapi.ALPNMesh: protocol}}).Serve(ctx)
			}()
			defer func() { cancel(); <-ended }()
			deaf := mesh.Seed{ID: key.ID(), At: ln.Addr().(*net.TCPAddr).AddrPort()}
			n.Deliver([]byte("proxy " + deaf.String()))
			before := w.dialsTo(deaf.At)
			packet := append([]byte{8}, make([]byte, mesh.MaxRecord)...)
			write := func() {
				if err := n.mesh.WriteTo(deaf, packet); err != nil {
					t.Fatalf("it says %v", err)
				}
			}
			write()
			w.await("it is dialled", func() bool { return w.dialsTo(deaf.At) > before })
			start := time.Now()
			for range 20_000 {
				write()
			}
			// 40 MB fit no buffer: one blocked write would take 5 s, and they would add up.
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		for _, s := range []mesh.Seed{{}, {ID: "x"}, {ID: identity.NewKey().ID(), At: n.at}} {
			if err := n.mesh.WriteTo(s, []byte{2}); err != nil {
				t.Errorf("it says %v", err)
			}
		}
	})
}

// A member may say what it likes about others: who has no record does not
// become one, and who has is not moved elsewhere.
func TestMesh_forgedMembers(t *testing.T) {
	w := newWorld(t)
	all := w.build(2, nil)
	n, victim := all[0], all[1]
	r := newRogue(n)
	conn := r.welcomed(t, n, 'p')
	at := netip.MustParseAddrPort("192.0.2.7:8088")
	nobody := identity.NewKey().ID()
	for _, id := range []identity.ID{nobody, victim.id(), n.id()} {
		if _, err := conn.Write(mesh.Frame(mesh.Alive(mesh.Seed{ID: id, At: at}))); err != nil {
			t.Fatal(err)
		}
	}
	// Packets are taken in order, and this one may be believed.
	if _, err := conn.Write(mesh.Frame(mesh.Alive(r.at))); err != nil {
		t.Fatal(err)
	}
	w.await("the last was heard", func() bool { return n.heard(mesh.Event{Kind: mesh.Joined, Seed: r.at}) })
	for _, s := range n.mesh.Members() {
		if s.At == at || s.ID == nobody {
			t.Errorf("%s is a member", s)
		}
	}
	if !n.has(victim) {
		t.Error("the victim is gone")
	}
}
