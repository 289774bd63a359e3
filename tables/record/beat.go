package record

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"strconv"
	"time"

	"p2prc/tables/identity"
)

// Most of what nodes send each other while nothing changes is heartbeats, and
// most of a heartbeat is the same each time. Its beginning, up to the subject,
// need be sent once; the rest has one spelling that follows from a few numbers.

// BeatHead is the beginning of a heartbeat, which is the same in all of its
// owner's, and false for anything else.
func BeatHead(raw []byte) ([]byte, bool) {
	if !bytes.HasPrefix(raw, []byte(beatPrefix)) || len(raw) > MaxSize {
		return nil, false
	}
	end := 0
	for range beatHeadLines {
		n := bytes.IndexByte(raw[end:], '\n')
		if n < 0 {
			return nil, false
		}
		end += n + 1
	}
	return raw[:end], true
}

const (
	beatPrefix    = prefix + "\n" + string(KindHeartbeat) + "\n"
	beatHeadLines = 5
)

// AppendBeat adds what of a heartbeat follows its head, in short. It is false
// for a heartbeat that says more than this version knows.
func (r *Record) AppendBeat(dst []byte) ([]byte, bool) {
	h, ok := r.Body.(*Heartbeat)
	if !ok || r.Issued.Unix() < 0 {
		return dst, false
	}
	head, ok := BeatHead([]byte(r.raw))
	if !ok {
		return dst, false
	}
	if string(appendBeatTail(nil, r.Serial, r.Issued, *h)) != r.message()[len(head):] {
		return dst, false
	}
	dst = binary.AppendUvarint(dst, r.Serial)
	dst = binary.AppendUvarint(dst, uint64(r.Issued.Unix()))
	dst = binary.AppendUvarint(dst, uint64(h.Free))
	dst = binary.AppendUvarint(dst, uint64(h.Load))
	return append(dst, r.signature()...), true
}

// ReadBeat makes the heartbeat of a head and what AppendBeat wrote, and gives
// back what follows that. It is false for anything else; that the heartbeat is
// in order, and signed, is for Merge to find out.
func ReadBeat(head, short []byte) (raw, rest []byte, ok bool) {
	var n [4]uint64
	for i := range n {
		v, size := binary.Uvarint(short)
		if size <= 0 {
			return nil, nil, false
		}
		n[i], short = v, short[size:]
	}
	if len(short) < ed25519.SignatureSize || n[1] > maxUnix || n[2] > 1<<17 || n[3] > 1<<17 {
		return nil, nil, false
	}
	raw = append(make([]byte, 0, len(head)+160), head...)
	raw = appendBeatTail(raw, n[0], time.Unix(int64(n[1]), 0), Heartbeat{Free: uint32(n[2]), Load: uint32(n[3])})
	raw = append(raw, short[:ed25519.SignatureSize]...)
	return raw, short[ed25519.SignatureSize:], true
}

// ShortBeat is a heartbeat in short for who may not have seen its head: the
// owner's key stands for it. It is false where AppendBeat is.
func ShortBeat(raw []byte) (short []byte, ok bool) {
	r, err := Parse(raw)
	if err != nil {
		return nil, false
	}
	return r.AppendBeat(append(make([]byte, 0, ed25519.PublicKeySize+96), r.PublicKey()...))
}

// LongBeat makes the heartbeat of what ShortBeat wrote, as ReadBeat does.
func LongBeat(short []byte) (raw []byte, ok bool) {
	if len(short) < ed25519.PublicKeySize {
		return nil, false
	}
	public := ed25519.PublicKey(short[:ed25519.PublicKeySize])
	head := beatPrefix + string(identity.IDOf(public)) + "\n" + encodeKey(public) + "\n" + string(SubjectHeartbeat) + "\n"
	raw, rest, ok := ReadBeat([]byte(head), short[ed25519.PublicKeySize:])
	return raw, ok && len(rest) == 0
}

// maxUnix is the last second that RFC 3339 can spell.
const maxUnix = 253402300799

func appendBeatTail(dst []byte, serial uint64, issued time.Time, h Heartbeat) []byte {
	dst = strconv.AppendUint(dst, serial, 10)
	dst = append(dst, '\n')
	dst = append(dst, encodeTime(issued)...)
	dst = append(dst, '\n')
	dst = append(dst, encodeTime(issued.Add(BeatLife))...)
	dst = append(dst, '\n')
	for _, f := range h.fields() {
		dst = append(dst, f.name...)
		dst = append(dst, ' ')
		dst = append(dst, f.value...)
		dst = append(dst, '\n')
	}
	return dst
}
