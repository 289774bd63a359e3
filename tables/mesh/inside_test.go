package mesh

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2prc/tables/identity"
)

func TestHello_comesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := hello{
			kind:   rapid.SampledFrom([]byte{kindPackets, kindStream}).Draw(t, "kind"),
			at:     netip.AddrPortFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "at"))), rapid.Uint16().Draw(t, "port")),
			record: rapid.SliceOfN(rapid.Byte(), 0, MaxRecord).Draw(t, "record"),
		}
		if rapid.Bool().Draw(t, "private") {
			h.proof = rapid.SliceOfN(rapid.Byte(), identity.JoinProofSize, identity.JoinProofSize).Draw(t, "proof")
		}
		r := bytes.NewReader(append(h.encode(), "rest"...))
		got, err := readHello(r)
		if err != nil || !reflect.DeepEqual(got, h) || r.Len() != len("rest") {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
	})
}

func FuzzReadHello(f *testing.F) {
	h := hello{kind: kindPackets, at: netip.MustParseAddrPort("203.0.113.7:8088"), record: []byte("record")}
	f.Add(h.encode())
	h.proof = make([]byte, identity.JoinProofSize)
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil && (len(h.record) > MaxRecord || !bytes.HasPrefix(b, h.encode())) {
			t.Fatalf("%x was read as %+v", b, h)
		}
		_, _ = readAnswer(bytes.NewReader(b), true)
	})
}

func FuzzMessages(f *testing.F) {
	ack, err := ackOf(7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ack)
	f.Add([]byte{msgCompound, 2, 0, 1, 0, 2, msgPing, msgUser, kindRecord})
	f.Add([]byte{msgCRC, 0, 0, 0, 0, msgUser, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		parts, err := messages(b)
		if err != nil {
			return
		}
		total := 0
		for _, p := range parts {
			if p[0] == msgCompound || p[0] == msgPushPull {
				t.Fatalf("%x holds %x", b, p)
			}
			total += len(p)
		}
		if total > len(b) {
			t.Fatalf("%x became %d bytes", b, total)
		}
		_, _ = pingOf(b)
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, []byte("packet")))
	f.Add(appendFrame(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readFrame(bytes.NewReader(b))
		if err == nil && (len(p) != int(binary.BigEndian.Uint16(b)) || len(p) > maxFrame) {
			t.Fatalf("%x was read as %x", b, p)
		}
	})
}

func TestBudget(t *testing.T) {
	b := newBudget(10, 1)
	for i := range 10 {
		if !b.take(1) {
			t.Fatalf("nothing left after %d", i)
		}
	}
	if b.take(1) {
		t.Error("there is more than 10")
	}
	b.at = b.at.Add(-3 * time.Second)
	if !b.take(3) || b.take(1) {
		t.Error("three seconds are not worth 3")
	}
	b.at = b.at.Add(-time.Hour)
	if b.take(11) || !b.take(10) {
		t.Error("an hour is not worth 10")
	}
}

func TestBackoff(t *testing.T) {
	m := &Mesh{pace: usualPace}
	for failures, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 6: 5 * time.Minute, 1000: 5 * time.Minute} {
		for range 100 {
			if got := m.backoff(failures); got < want/2 || got > want+want/2 {
				t.Errorf("after %d failures: %s, want about %s", failures, got, want)
			}
		}
	}
}

// What each member passes on grows with their number, and fits the formula that
// memberlist has for it.
func TestTransmits(t *testing.T) {
	for size, want := range map[int]int{1: 5, 2: 6, 10: 8, 50: 9, 2000: 13} {
		m := &Mesh{members: map[identity.ID]netip.AddrPort{}}
		for i := range size - 1 {
			m.members[identity.ID(strconv.Itoa(i))] = netip.AddrPort{}
		}
		q := newQueue(m.recordTransmits)
		q.QueueBroadcast(broadcast("x"))
		got := 0
		for len(q.GetBroadcasts(2, 1000)) > 0 {
			got++
		}
		if got != want {
			t.Errorf("%d members: %d transmits, want %d", size, got, want)
		}
	}
}

func TestSeen(t *testing.T) {
	s := newSeen()
	name := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	for i := range 3 * maxSeen {
		s.add(name(i))
	}
	for i, want := range map[int]bool{3*maxSeen - 1: true, 2 * maxSeen: true, maxSeen: true, 0: false, 3 * maxSeen: false} {
		if got := s.has(name(i)); got != want {
			t.Errorf("record %d is remembered: %t", i, got)
		}
	}
	if len(s.now)+len(s.old) > 2*maxSeen {
		t.Error("it remembers without end")
	}
}

// The newest connection wins, but when both ends dialled at once both take the
// same.
func TestAttach(t *testing.T) {
	one, two := identity.NewKey(), identity.NewKey()
	if one.ID() > two.ID() {
		one, two = two, one
	}
	for _, tt := range []struct {
		name       string
		me, peer   identity.Key
		oldDialled bool // by this node
		newDialled bool
		age        time.Duration
		newWins    bool
	}{
		{"the peer dials again", one, two, false, false, 0, true},
		{"this node dials again", one, two, true, true, 0, true},
		{"the peer dials long after", one, two, true, false, time.Hour, true},
		{"at once, seen by the smaller", one, two, true, false, 0, false},
		{"at once, seen by the smaller, the other way round", one, two, false, true, 0, true},
		{"at once, seen by the larger", two, one, false, true, 0, false},
		{"at once, seen by the larger, the other way round", two, one, true, false, 0, true},
	} {
		tr := newTransport(&Mesh{o: Options{Key: tt.me}})
		p := newPeer(tt.peer.ID())
		line := func(dialled bool) *line {
			conn, _ := net.Pipe()
			return newLine(tls.Client(conn, nil), netip.AddrPort{}, dialled)
		}
		before, after := line(tt.oldDialled), line(tt.newDialled)
		tr.attach(p, before)
		before.since = time.Now().Add(-tt.age)
		if got := tr.attach(p, after); got != p.line || (got == after) != tt.newWins {
			t.Errorf("%s: the new one wins: %t", tt.name, got == after)
		}
		tr.stop()
	}
}
