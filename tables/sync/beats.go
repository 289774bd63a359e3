package sync

import (
	"encoding/binary"
	"fmt"
	"time"

	"p2prc/tables/record"
)

// maxHeads is how many owners' heartbeats go in short on one connection.
const maxHeads = 256

// heads numbers the heartbeats that went one way on a connection: the first of
// an owner goes in full, and its number is how many came before. All others
// are that number and what record.AppendBeat leaves of them, a third.
type heads struct {
	sent  map[record.Key]int
	known map[string]bool
	came  [][]byte
}

// tell numbers what is sent in full.
func (h *heads) tell(rs []*record.Record) {
	for _, r := range rs {
		if _, known := h.sent[r.Key()]; known || r.Kind() != record.KindHeartbeat || len(h.sent) == maxHeads {
			continue
		}
		if h.sent == nil {
			h.sent = map[record.Key]int{}
		}
		h.sent[r.Key()] = len(h.sent)
	}
}

// hear numbers what came in full. The bytes are copied.
func (h *heads) hear(raws [][]byte) {
	for _, raw := range raws {
		head, ok := record.BeatHead(raw)
		if !ok || h.known[string(head)] || len(h.came) == maxHeads {
			continue
		}
		if h.known == nil {
			h.known = map[string]bool{}
		}
		h.known[string(head)] = true
		h.came = append(h.came, append([]byte(nil), head...))
	}
}

// parse reads a frame of heartbeats in short.
func (h *heads) parse(b []byte) ([][]byte, error) {
	var raws [][]byte
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n >= uint64(len(h.came)) {
			return nil, fmt.Errorf("%w: a heartbeat of nobody", errFrame)
		}
		raw, rest, ok := record.ReadBeat(h.came[n], b[size:])
		if !ok {
			return nil, fmt.Errorf("%w: half a heartbeat", errFrame)
		}
		raws = append(raws, raw)
		b = rest
	}
	return raws, nil
}

// sayBeats sends the heartbeats that wait, in short where it can be; the rest
// is news from now on. It is called with mu held.
func (c *session) sayBeats(b []byte) []byte {
	c.beatAt = time.Time{}
	frame := appendFrame(b, kindBeats, func(b []byte) []byte {
		start := len(b)
		for i, r := range c.beats {
			if len(b)-start > maxFrame-record.MaxSize {
				c.news = append(c.news, c.beats[i:]...) // a flood: in full
				break
			}
			n, known := c.told.sent[r.Key()]
			if !known {
				c.news = append(c.news, r)
				continue
			}
			before := len(b)
			short, ok := r.AppendBeat(binary.AppendUvarint(b, uint64(n)))
			if !ok {
				b = b[:before]
				c.news = append(c.news, r)
				continue
			}
			b = short
		}
		return b
	})
	c.beats = nil
	if len(frame) == len(b)+headSize { // there were none
		return c.sayNews(b, time.Time{})
	}
	return frame
}
