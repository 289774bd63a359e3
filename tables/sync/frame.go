package sync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"p2prc/tables/record"
)

// maxFrame bounds a frame, its head left out: what TLS sends in one piece.
const maxFrame = 16 << 10

// kind says what a frame is. Unknown ones are skipped: a later version may say
// more.
type kind byte

const (
	kindHello    kind = 1  // unix milliseconds; more may follow
	kindSum      kind = 2  // the sum of the digests, and a byte: not 0 asks for a comparison
	kindDigests  kind = 3  // of each bucket: asks for lists of those that differ
	kindList     kind = 4  // bucket, a byte that is not 0 in its last frame, items
	kindListed   kind = 5  // all lists were sent
	kindWant     kind = 6  // keys: asks for their records
	kindRecords  kind = 7  // each behind its length in two bytes
	kindAnswered kind = 8  // a want was answered, as far as the records are still there
	kindRefused  kind = 9  // why this end hangs up
	kindBeats    kind = 10 // heartbeats in short, see heads
)

const (
	headSize   = 5
	itemSize   = 16 + 8 + 16
	keySize    = 16
	maxWant    = 512 // keys in one frame
	maxReason  = 300
	digestSize = 16
)

var errFrame = errors.New("the other end does not keep to the protocol")

// appendFrame begins a frame whose content is appended by fill.
func appendFrame(dst []byte, k kind, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(k))
	if fill != nil {
		dst = fill(dst)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-headSize))
	return dst
}

// readFrame reads one frame into buf, or a larger one. A frame that has begun
// must end within frameWait.
func readFrame(r io.Reader, buf []byte, begun func() error) (kind, []byte, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return 0, buf, err // io.EOF: the other end is done
	}
	if err := begun(); err != nil {
		return 0, buf, err
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return 0, buf, noEOF(err)
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n > maxFrame {
		return 0, buf, fmt.Errorf("%w: a frame of %d bytes", errFrame, n)
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err := io.ReadFull(r, buf)
	return kind(head[4]), buf, noEOF(err)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendHello(dst []byte, now time.Time) []byte {
	return appendFrame(dst, kindHello, func(b []byte) []byte {
		return binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	})
}

func parseHello(b []byte) (time.Time, error) {
	if len(b) < 8 {
		return time.Time{}, fmt.Errorf("%w: a hello of %d bytes", errFrame, len(b))
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))), nil
}

func appendSum(dst []byte, d record.Digest, compare bool) []byte {
	return appendFrame(dst, kindSum, func(b []byte) []byte {
		b = append(b, d[:]...)
		if compare {
			return append(b, 1)
		}
		return append(b, 0)
	})
}

func parseSum(b []byte) (d record.Digest, compare bool, err error) {
	if len(b) != digestSize+1 {
		return d, false, fmt.Errorf("%w: a sum of %d bytes", errFrame, len(b))
	}
	return record.Digest(b[:digestSize]), b[digestSize] != 0, nil
}

func appendDigests(dst []byte, all [record.Buckets]record.Digest) []byte {
	return appendFrame(dst, kindDigests, func(b []byte) []byte {
		for i := range all {
			b = append(b, all[i][:]...)
		}
		return b
	})
}

func parseDigests(b []byte) (all [record.Buckets]record.Digest, err error) {
	if len(b) != record.Buckets*digestSize {
		return all, fmt.Errorf("%w: digests of %d bytes", errFrame, len(b))
	}
	for i := range all {
		all[i] = record.Digest(b[i*digestSize:])
	}
	return all, nil
}

// maxItems is how many items a list frame holds.
const maxItems = (maxFrame - 2) / itemSize

func appendList(dst []byte, bucket byte, last bool, items []record.Item) []byte {
	return appendFrame(dst, kindList, func(b []byte) []byte {
		b = append(b, bucket, 0)
		if last {
			b[len(b)-1] = 1
		}
		for _, it := range items {
			b = append(b, it.Key[:]...)
			b = binary.BigEndian.AppendUint64(b, it.Serial)
			b = append(b, it.Hash[:]...)
		}
		return b
	})
}

func parseList(b []byte) (bucket byte, last bool, items []record.Item, err error) {
	if len(b) < 2 || (len(b)-2)%itemSize != 0 {
		return 0, false, nil, fmt.Errorf("%w: a list of %d bytes", errFrame, len(b))
	}
	bucket, last = b[0], b[1] != 0
	items = make([]record.Item, 0, (len(b)-2)/itemSize)
	for b = b[2:]; len(b) > 0; b = b[itemSize:] {
		items = append(items, record.Item{
			Key: record.Key(b), Serial: binary.BigEndian.Uint64(b[keySize:]), Hash: record.Hash(b[keySize+8:]),
		})
	}
	return bucket, last, items, nil
}

func appendWant(dst []byte, keys []record.Key) []byte {
	return appendFrame(dst, kindWant, func(b []byte) []byte {
		for _, k := range keys {
			b = append(b, k[:]...)
		}
		return b
	})
}

func parseWant(b []byte) ([]record.Key, error) {
	if len(b)%keySize != 0 || len(b) > maxWant*keySize {
		return nil, fmt.Errorf("%w: a want of %d bytes", errFrame, len(b))
	}
	keys := make([]record.Key, 0, len(b)/keySize)
	for ; len(b) > 0; b = b[keySize:] {
		keys = append(keys, record.Key(b))
	}
	return keys, nil
}

// appendRecords makes one frame of as many of the records as fit, at least one,
// and says how many those are.
func appendRecords(dst []byte, rs []*record.Record) (frame []byte, n int) {
	frame = appendFrame(dst, kindRecords, func(b []byte) []byte {
		start := len(b)
		for _, r := range rs {
			raw := r.Raw()
			if len(b)-start+2+len(raw) > maxFrame {
				break
			}
			b = binary.BigEndian.AppendUint16(b, uint16(len(raw)))
			b = append(b, raw...)
			n++
		}
		return b
	})
	return frame, n
}

func parseRecords(b []byte) ([][]byte, error) {
	var raws [][]byte
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, fmt.Errorf("%w: half a record", errFrame)
		}
		n := int(binary.BigEndian.Uint16(b))
		if n == 0 || n > record.MaxSize || n > len(b)-2 {
			return nil, fmt.Errorf("%w: a record of %d bytes", errFrame, n)
		}
		raws = append(raws, b[2:2+n])
		b = b[2+n:]
	}
	return raws, nil
}
