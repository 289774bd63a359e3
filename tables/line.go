package tables

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"strconv"
	"time"
)

// A line of the journal is one change, as JSON that any tool can read:
//
//	{"seq":7,"more":true,"kind":"mapping","time":"…","row":{…},"crc":"1a2b3c4d"}
//
// The members stand in this order; crc is the CRC-32C of everything before
// `,"crc"`. more says that the change is void without the next line: a batch is
// all or nothing.
type line struct {
	seq  uint64
	more bool
	kind string
	time []byte // RFC 3339
	row  []byte // JSON: a row, for a drop its key
}

// clone is the line with bytes of its own.
func (l line) clone() line {
	l.time, l.row = bytes.Clone(l.time), bytes.Clone(l.row)
	return l
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	crcOpen  = `,"crc":"`
	crcClose = `"}`
	crcLen   = len(crcOpen) + 2*crc32.Size + len(crcClose)
)

// appendLine adds a line with its newline.
func appendLine(dst []byte, seq uint64, more bool, kind string, at time.Time, row []byte) []byte {
	start := len(dst)
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	if more {
		dst = append(dst, `,"more":true`...)
	}
	dst = append(dst, `,"kind":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","row":`...)
	dst = append(dst, row...)
	dst = appendSum(dst, dst[start:])
	return append(dst, '\n')
}

// appendSum adds the end of a line whose beginning is body.
func appendSum(dst, body []byte) []byte {
	var sum [crc32.Size]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(body, castagnoli))
	dst = append(dst, crcOpen...)
	dst = hex.AppendEncode(dst, sum[:])
	return append(dst, crcClose...)
}

var errLayout = errors.New("it is not laid out as p2prc writes it")

// parseLine reads a line without its newline. The slices point into b.
func parseLine(b []byte) (line, error) {
	if len(b) < crcLen {
		return line{}, errLayout
	}
	body, tail := b[:len(b)-crcLen], b[len(b)-crcLen:]
	if !bytes.Equal(tail, appendSum(make([]byte, 0, crcLen), body)) {
		return line{}, errors.New("its checksum is wrong")
	}
	var l line
	rest, ok := bytes.CutPrefix(body, []byte(`{"seq":`))
	if !ok {
		return line{}, errLayout
	}
	digits, rest, ok := bytes.Cut(rest, []byte(`,"`))
	if !ok {
		return line{}, errLayout
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return line{}, errLayout
	}
	l.seq = seq
	if after, ok := bytes.CutPrefix(rest, []byte(`more":true,"`)); ok {
		l.more, rest = true, after
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`kind":"`))
	if !ok {
		return line{}, errLayout
	}
	kind, rest, ok := bytes.Cut(rest, []byte(`","time":"`))
	if !ok {
		return line{}, errLayout
	}
	l.kind = string(kind)
	if l.time, l.row, ok = bytes.Cut(rest, []byte(`","row":`)); !ok {
		return line{}, errLayout
	}
	return l, nil
}
