package mesh

import (
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

// Hurry makes the waits of a mesh that does not serve yet shorter, but for those
// that a busy machine would take for a death.
func (m *Mesh) Hurry() {
	m.pace = pace{
		first: 200 * time.Millisecond, most: 2 * time.Second, soon: 100 * time.Millisecond, silence: 3 * time.Second,
		tune: func(c *memberlist.Config) {
			c.GossipInterval, c.PushPullInterval = 20*time.Millisecond, time.Second
			c.SuspicionMaxTimeoutMult = 2
		},
	}
}

// ProbeFast makes deaths known sooner, those that are none included.
func (m *Mesh) ProbeFast() {
	tune := m.pace.tune
	m.pace.tune = func(c *memberlist.Config) {
		tune(c)
		c.ProbeInterval, c.ProbeTimeout = 600*time.Millisecond, 400*time.Millisecond
	}
}

// NoPushPull leaves a mesh that does not serve yet to notice by other means
// what it does not know.
func (m *Mesh) NoPushPull() {
	tune := m.pace.tune
	m.pace.tune = func(c *memberlist.Config) {
		tune(c)
		c.PushPullInterval = 0
	}
}

// WriteTo posts a packet as memberlist does.
func (m *Mesh) WriteTo(s Seed, b []byte) error {
	m.mu.Lock()
	t := m.transport
	m.mu.Unlock()
	_, err := t.WriteToAddress(b, memberlist.Address{Addr: s.At.String(), Name: string(s.ID)})
	return err
}

// Hello is the beginning of a connection of the given kind, as from a node that
// is at s and proves nothing.
func Hello(kind byte, s Seed, record, proof []byte) []byte {
	return hello{kind: kind, at: s.At, record: record, proof: proof}.encode()
}

// Frame is a packet as it crosses the wire.
func Frame(packet []byte) []byte { return appendFrame(nil, packet) }

// Alive is memberlist's message that a member is there.
func Alive(s Seed) []byte {
	a := s.At.Addr().As4()
	var b []byte
	err := codec.NewEncoderBytes(&b, new(codec.MsgpackHandle)).Encode(struct {
		Incarnation uint32
		Node        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Vsn         []uint8
	}{1000, string(s.ID), a[:], s.At.Port(), nil, []uint8{1, 5, 2, 0, 0, 0}})
	if err != nil {
		panic(err)
	}
	return append([]byte{msgAlive}, b...)
}
