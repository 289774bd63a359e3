package tables

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	journalFormat = 1
	kindBegin     = "begin" // of the first line: {"format":1}

	// maxLine bounds a line of the journal; a row has under 2 KiB.
	maxLine = 64 << 10
)

// errNewer says that a later p2prc wrote the file: it is neither broken nor ours to change.
var errNewer = errors.New("a newer p2prc wrote it")

// hintNewer is the way out of errNewer.
const hintNewer = "install the newer p2prc again, or pass --state-dir=PATH"

// scan is what a look through a journal found.
//
// The journal begins with its whole state at the sequence number base: the
// begin line and a line for each row, all with that number, renamed into place
// in one piece. One number after the other follow the changes. What a crash
// may leave behind them is the beginning of the next write, without a newline.
type scan struct {
	base   uint64 // the state that the journal begins with
	last   uint64 // the last whole batch
	at     []byte // its time, RFC 3339
	good   int64  // bytes up to its end
	size   int64  // bytes in all
	torn   bool   // the rest is the beginning of a write
	damage error  // the rest is something else: why
	lost   int    // whole lines in the rest
	max    uint64 // the highest sequence number that was ever given out
}

// scanJournal hands every change of every whole batch to visit, in order, up
// to the first line that is not as it was written. The line's slices are void
// after visit. An error of visit counts as damage, unless it wraps errNewer.
// The returned error is one of reading, or errNewer.
func scanJournal(r io.Reader, visit func(s *scan, l line) error) (scan, error) {
	var s scan
	in := &lineReader{r: bufio.NewReaderSize(r, maxLine)}
	var batch []line // void without the next line
	for number := 1; ; number++ {
		b, whole, err := in.next()
		if err != nil {
			return s, err
		}
		s.size = in.offset
		if !whole {
			s.end(b, number, len(batch))
			return s, nil
		}
		l, err := parseLine(b)
		if s.damage != nil { // only counting what is lost
			if err == nil {
				s.lost++
				s.max = max(s.max, l.seq)
			}
			continue
		}
		switch {
		case number == 1:
			err = s.begin(b, l, err)
		case err == nil && l.seq != s.next(len(batch)):
			err = fmt.Errorf("it is change %d where %d belongs", l.seq, s.next(len(batch)))
		}
		if err == nil && l.more && s.good > 0 {
			batch = append(batch, l.clone())
			continue
		}
		for _, l := range append(batch, l) {
			if err == nil && l.kind != kindBegin {
				err = visit(&s, l)
			}
		}
		batch = nil
		if errors.Is(err, errNewer) {
			return s, err
		}
		if err != nil {
			s.damage = fmt.Errorf("line %d: %w", number, err)
			continue
		}
		if !l.more {
			s.last, s.max, s.good = l.seq, l.seq, in.offset
			s.at = append(s.at[:0], l.time...)
		}
	}
}

// begin reads the first line, also one of a format that is laid out differently.
func (s *scan) begin(b []byte, l line, parseErr error) error {
	var first struct {
		Row struct {
			Format int `json:"format"`
		} `json:"row"`
	}
	err := json.Unmarshal(b, &first)
	if format := first.Row.Format; err == nil && format > journalFormat {
		return fmt.Errorf("%w: its format is %d, this one knows %d", errNewer, format, journalFormat)
	}
	if err := cmp.Or(parseErr, err); err != nil {
		return err
	}
	if l.kind != kindBegin || first.Row.Format != journalFormat {
		return errLayout
	}
	s.base, s.max = l.seq, l.seq
	return nil
}

// next is the sequence number that belongs on the next line.
func (s *scan) next(pending int) uint64 {
	if s.good == 0 { // still in the state
		return s.base
	}
	return s.last + 1 + uint64(pending)
}

// end judges what follows the last newline. A crash leaves the beginning of a
// write there, or the zeros of pages that were never written. Anything else was
// a whole line once, and perhaps acknowledged.
func (s *scan) end(rest []byte, number, pending int) {
	if s.damage != nil || s.good == s.size && s.good > 0 {
		return
	}
	start := fmt.Appendf(nil, `{"seq":%d`, s.next(pending))
	written := bytes.TrimRight(rest, "\x00")
	begun := bytes.HasPrefix(written, start) || bytes.HasPrefix(start, written)
	switch {
	case s.size == 0:
		s.damage = errors.New("it is empty")
	case s.good > 0 && begun && !lostItsEnd(rest):
		s.torn = true
	default:
		s.damage = fmt.Errorf("line %d: it has no end", number)
	}
}

// lostItsEnd tells whether only the newline of a line is gone.
func lostItsEnd(rest []byte) bool {
	if len(rest) == 0 {
		return false
	}
	_, err := parseLine(rest[:len(rest)-1])
	return err == nil
}

// lineReader cuts its input at newlines, in bounded memory.
type lineReader struct {
	r        *bufio.Reader
	offset   int64 // behind the last byte that was read
	overlong bool  // the last line had more than maxLine bytes, of which next returns the first
	first    []byte
}

// next is the next line without its newline; whole tells whether it had one.
// The last call returns what follows the last newline, often nothing.
func (l *lineReader) next() (b []byte, whole bool, err error) {
	l.overlong = false
	for {
		b, err = l.r.ReadSlice('\n')
		l.offset += int64(len(b))
		switch {
		case err == nil && l.overlong:
			return l.first, true, nil
		case err == nil:
			return b[:len(b)-1], true, nil
		case errors.Is(err, bufio.ErrBufferFull):
			if !l.overlong {
				l.overlong, l.first = true, bytes.Clone(b)
			}
		case errors.Is(err, io.EOF) && l.overlong:
			return l.first, false, nil
		case errors.Is(err, io.EOF):
			return b, false, nil
		default:
			return nil, false, err
		}
	}
}

// decodeChange is what a line of kind k says: a row, or nil for a key that is dropped.
func decodeChange[K comparable, R any](k *kind[K, R], l line) (key K, row *R, err error) {
	if l.kind == k.drop {
		err = json.Unmarshal(l.row, &key)
		return key, nil, err
	}
	r, err := decodeRow(k, l.row)
	if err != nil {
		return key, nil, err
	}
	return k.key(r), &r, nil
}
