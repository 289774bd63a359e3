package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// The kinds of memberlist's messages (0.7.0, net.go, where it says that they
// only ever grow). Compression and encryption are not spoken here: one of them
// inflates 64 KiB to 40 MiB, and TLS does the other.
const (
	msgPing         = 0
	msgIndirectPing = 1
	msgAck          = 2
	msgSuspect      = 3
	msgAlive        = 4
	msgDead         = 5
	msgPushPull     = 6
	msgCompound     = 7
	msgUser         = 8
	msgNack         = 11
	msgCRC          = 12
	msgError        = 13
)

// maxMessage bounds each message but records: a name, an address, a few numbers
// and memberlist's 512 bytes for what an application adds.
const maxMessage = 1 << 10

var errGarbage = errors.New("it is no packet of memberlist's")

// messages takes a packet apart, as memberlist will, and refuses whatever this
// mesh never sends.
func messages(b []byte) ([][]byte, error) {
	if len(b) >= 5 && b[0] == msgCRC {
		b = b[5:]
	}
	parts := [][]byte{b}
	if len(b) > 0 && b[0] == msgCompound {
		var err error
		if parts, err = compound(b[1:]); err != nil {
			return nil, err
		}
	}
	for _, p := range parts {
		if len(p) == 0 {
			return nil, errGarbage
		}
		most := maxMessage
		switch p[0] {
		case msgPing, msgIndirectPing, msgAck, msgNack, msgSuspect, msgAlive, msgDead:
		case msgUser:
			most = 2 + MaxRecord // and two bytes that say what it is
		default:
			return nil, errGarbage
		}
		if len(p) > most {
			return nil, errGarbage
		}
	}
	return parts, nil
}

// compound is one byte that counts, two for each length, and the messages.
func compound(b []byte) ([][]byte, error) {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return nil, errGarbage
	}
	sizes := b[1 : 1+2*int(b[0])]
	b = b[1+len(sizes):]
	parts := make([][]byte, 0, len(sizes)/2)
	for ; len(sizes) > 0; sizes = sizes[2:] {
		n := int(binary.BigEndian.Uint16(sizes))
		if n > len(b) {
			return nil, errGarbage
		}
		parts = append(parts, b[:n])
		b = b[n:]
	}
	if len(b) > 0 {
		return nil, errGarbage
	}
	return parts, nil
}

// appendFrame puts a packet in a frame: its length in two bytes, then itself.
// None is longer than maxPacket and what memberlist adds to that.
func appendFrame(dst, packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(packet))), packet...)
}

// maxFrame has room for a packet, and for a checksum and a count around it.
const maxFrame = maxPacket + 1<<10

// readFrame gives a new packet, or an empty one: a sign of life.
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxFrame {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// numbered is what a ping and its answer have in common.
type numbered struct{ SeqNo uint32 }

// pingOf finds the number of a ping in a packet on its way out.
func pingOf(packet []byte) (seq uint32, ok bool) {
	parts, err := messages(packet)
	if err != nil || len(parts) == 0 || parts[0][0] != msgPing {
		return 0, false
	}
	var n numbered
	err = codec.NewDecoderBytes(parts[0][1:], new(codec.MsgpackHandle)).Decode(&n)
	return n.SeqNo, err == nil
}

// ackOf is the packet that answers a ping.
func ackOf(seq uint32) ([]byte, error) {
	var b []byte
	err := codec.NewEncoderBytes(&b, new(codec.MsgpackHandle)).Encode(numbered{seq})
	return append([]byte{msgAck}, b...), err
}

// What a peer may send at once, and in the long run. In peace it is a few
// messages a second; after a great outage a member passes on thousands of
// records.
const (
	messagesAtOnce    = 8000
	messagesPerSecond = 400
	bytesAtOnce       = 8 << 20
	bytesPerSecond    = 1 << 20
	streamsAtOnce     = 16
	streamsPerSecond  = 1
)

var errFlood = errors.New("it sends more than a member ever has to")

// budget is a bucket that fills while time goes by.
type budget struct {
	left, atOnce, perSecond float64
	at                      time.Time
}

func newBudget(atOnce, perSecond float64) budget {
	return budget{left: atOnce, atOnce: atOnce, perSecond: perSecond, at: time.Now()}
}

// take reports whether that much was left.
func (b *budget) take(n float64) bool {
	now := time.Now()
	b.left = min(b.atOnce, b.left+now.Sub(b.at).Seconds()*b.perSecond)
	b.at = now
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}
