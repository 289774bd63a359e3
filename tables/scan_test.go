package tables

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines builds a journal: "more" marks lines that are void without the next.
type journalLine struct {
	seq  uint64
	more bool
	kind string
	row  string
}

func journalOf(lines ...journalLine) []byte {
	var out []byte
	for _, l := range lines {
		out = appendLine(out, l.seq, l.more, l.kind, t0, []byte(l.row))
	}
	return out
}

var begin = journalLine{seq: 4, kind: kindBegin, row: `{"format":1}`}

// sampleJournal has a state of two rows, a single change and a batch of two.
func sampleJournal() []byte {
	state := begin
	state.more = true
	return journalOf(
		state,
		journalLine{4, true, "mapping", `{"n":1}`},
		journalLine{4, false, "proxy", `{"n":2}`},
		journalLine{5, false, "mapping", `{"n":3}`},
		journalLine{6, true, "drop-mapping", `{"n":1}`},
		journalLine{7, false, "reservation", `{"n":4}`},
	)
}

// scanned is what came out of a journal.
func scanned(tb testing.TB, data []byte) (rows []string, s scan) {
	tb.Helper()
	s, err := scanJournal(bytes.NewReader(data), func(_ *scan, l line) error {
		rows = append(rows, fmt.Sprintf("%d %s %s", l.seq, l.kind, l.row))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return rows, s
}

func TestScanJournal_whole(t *testing.T) {
	data := sampleJournal()
	rows, s := scanned(t, data)
	want := []string{
		`4 mapping {"n":1}`, `4 proxy {"n":2}`, `5 mapping {"n":3}`, `6 drop-mapping {"n":1}`, `7 reservation {"n":4}`,
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	if s.damage != nil || s.torn || s.base != 4 || s.last != 7 || s.max != 7 || s.good != int64(len(data)) {
		t.Errorf("%+v", s)
	}
	if string(s.at) != t0.Format(time.RFC3339Nano) {
		t.Errorf("at %s", s.at)
	}
}

// Whatever part of the last write a crash leaves, exactly the batches before it
// are there, and it is told from damage. The state was renamed into place, so a
// cut in there is damage.
func TestScanJournal_tornAtEveryByte(t *testing.T) {
	data := sampleJournal()
	ends := []int{0}
	for i, b := range data {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	whole := []struct{ end, rows int }{{ends[3], 2}, {ends[4], 3}, {ends[6], 5}}
	for cut := range len(data) {
		rows, s := scanned(t, data[:cut])
		if cut < ends[3] {
			if s.damage == nil || s.torn {
				t.Fatalf("cut at %d, inside the state: %+v", cut, s)
			}
			continue
		}
		want := whole[0]
		for _, w := range whole {
			if w.end <= cut {
				want = w
			}
		}
		if s.damage != nil || s.torn != (cut > want.end) || len(rows) != want.rows || s.good != int64(want.end) {
			t.Fatalf("cut at %d: %d rows, %+v, want %+v", cut, len(rows), s, want)
		}
		// The size was made durable before the data was.
		if rows, s := scanned(t, append(bytes.Clone(data[:cut]), make([]byte, 100_000)...)); s.damage != nil || !s.torn || len(rows) != want.rows {
			t.Fatalf("cut at %d, then zeros: %d rows, %+v", cut, len(rows), s)
		}
	}
}

// A flipped bit anywhere is damage: what was acknowledged is never lost in silence.
func TestScanJournal_flippedAtEveryByte(t *testing.T) {
	data := sampleJournal()
	all, _ := scanned(t, data)
	for i := range data {
		for _, flip := range []byte{1, 2, 0x20, 0x80, data[i] ^ '\n'} {
			if flip == 0 {
				continue
			}
			bad := bytes.Clone(data)
			bad[i] ^= flip
			var rows []string
			s, err := scanJournal(bytes.NewReader(bad), func(_ *scan, l line) error {
				rows = append(rows, fmt.Sprintf("%d %s %s", l.seq, l.kind, l.row))
				return nil
			})
			if errors.Is(err, errNewer) {
				continue // the digit of the format
			}
			if err != nil || s.damage == nil || s.torn {
				t.Fatalf("byte %d xor %#x: %v, %+v", i, flip, err, s)
			}
			if len(rows) > len(all) || !cmp.Equal(all[:len(rows)], rows) && len(rows) > 0 {
				t.Fatalf("byte %d xor %#x: rows %q", i, flip, rows)
			}
			if s.max > 7 {
				t.Fatalf("byte %d xor %#x: numbers up to %d", i, flip, s.max)
			}
		}
	}
}

func TestScanJournal_damage(t *testing.T) {
	one := journalLine{5, false, "mapping", `{"n":3}`}
	for _, tt := range []struct {
		name string
		data []byte
		want string
		max  uint64
	}{
		{"empty", nil, "it is empty", 0},
		{"no begin", journalOf(one), "line 1: it is not laid out", 0},
		{"garbage", []byte("garbage\n"), "line 1: it is not laid out", 0},
		{"garbage without an end", []byte("garbage"), "line 1: it has no end", 0},
		{"one line is gone", journalOf(begin, journalLine{6, false, "mapping", `{}`}, journalLine{7, false, "mapping", `{}`}), "line 2: it is change 6 where 5 belongs", 7},
		{"a line stands twice", journalOf(begin, one, one), "line 3: it is change 5 where 6 belongs", 5},
		{"overlong line", append(journalOf(begin, one), bytes.Repeat([]byte("x"), 3*maxLine)...), "line 3: it has no end", 5},
		{"overlong line with an end", append(append(journalOf(begin), bytes.Repeat([]byte("x"), 3*maxLine)...), "\n"+string(journalOf(one))...), "line 2: its checksum", 5},
		{"lines behind it count", append(append(journalOf(begin), "junk\n"...), journalOf(journalLine{9, false, "mapping", `{}`})...), "line 2: it is not", 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, s := scanned(t, tt.data)
			if s.damage == nil || s.torn || !strings.HasPrefix(s.damage.Error(), tt.want) || s.max != tt.max {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestScanJournal_newerFormatIsNotDamage(t *testing.T) {
	for _, data := range []string{
		string(journalOf(journalLine{4, false, kindBegin, `{"format":2}`})),
		`{"row":{"format":3},"laid":"out differently"}` + "\n",
	} {
		_, err := scanJournal(strings.NewReader(data), nil)
		if !errors.Is(err, errNewer) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// FuzzScanJournal: any input is either read to the end, or its good part alone
// gives the same rows and is whole.
func FuzzScanJournal(f *testing.F) {
	f.Add(sampleJournal())
	f.Add(sampleJournal()[:700])
	f.Add([]byte(`{"row":{"format":3}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		mine := newOwn()
		s, err := scanJournal(bytes.NewReader(data), mine.replay)
		if err != nil {
			if !errors.Is(err, errNewer) {
				t.Fatal(err)
			}
			return
		}
		if s.good > s.size || s.size != int64(len(data)) || s.torn && s.damage != nil {
			t.Fatalf("%+v", s)
		}
		if s.good == 0 {
			return
		}
		again, err := scanJournal(bytes.NewReader(data[:s.good]), newOwn().replay)
		if err != nil || again.torn || again.damage != nil || again.last != s.last || again.base != s.base {
			t.Fatalf("%v: %+v, its good part %+v", err, s, again)
		}
	})
}
