package mesh

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// A message of ours among memberlist's is one byte, what kind it is, and a
// record, or what stands for one.
const (
	kindRecord = 0 // has to reach everyone
	kindBeat   = 1 // the next one comes soon
	kindShort  = 2 // a beat as Options.Shorten makes it
)

// beatTransmits is how often each member passes a beat on: it reaches 19 of 20,
// and of four in a row one reaches all but a few in a million. At 50 proxies
// with a beat every 10 s, each transmit is a kB/s.
const beatTransmits = 3

// Beats go out together, this often: at 50 proxies that saves most of the packets,
// and each member on the way keeps a beat for half of this.
const (
	beatRound = 500 * time.Millisecond
	roundTime = 20 * time.Millisecond // all packets of a round are filled within it
	manyBeats = 64                    // that wait make a packet worth sending by themselves
)

// rounds tells when beats go out.
type rounds struct {
	mu    sync.Mutex // guards what follows
	began time.Time
}

// open reports whether it is time for beats, and begins a round if one is due.
func (r *rounds) open(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began) >= beatRound {
		r.began = now
	}
	return now.Sub(r.began) < roundTime
}

// maxQueued is how many records wait, this node being alone or the mesh slow.
const maxQueued = 4096

// broadcast is a message in a queue. Records are not compared here, so none
// makes another one void.
type broadcast []byte

func (broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Message() []byte                     { return b }
func (broadcast) Finished()                             {}

// newQueue makes a queue whose messages are sent that many times. memberlist
// would make that RetransmitMult*log10(n+1), rounded up: too few for ten
// members, 16 % of the records missed one of them.
func newQueue(transmits func() int) *memberlist.TransmitLimitedQueue {
	return &memberlist.TransmitLimitedQueue{
		RetransmitMult: 1,
		NumNodes:       func() int { return int(math.Pow10(transmits())) - 1 },
	}
}

// recordTransmits leaves one record in 150 to be missed by anybody: after k
// transmits by each of n, e^-k of them did not hear it.
func (m *Mesh) recordTransmits() int { return int(math.Ceil(math.Log(float64(m.size())))) + 5 }
