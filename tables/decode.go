package tables

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// splitSnapshot cuts a table file into its header and its rows, which are not
// decoded yet.
func splitSnapshot(data []byte, member string) (header, [][]byte, error) {
	if head, rows, ok := splitLines(data, member); ok {
		h, _, err := decodeTop(append(slices.Clone(head), "]}"...), member)
		return h, rows, err
	}
	// Not as it was written; people do run such files through other programs.
	h, array, err := decodeTop(data, member)
	if err != nil {
		return h, nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(array, &raw); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	rows := make([][]byte, len(raw))
	for i := range raw {
		rows[i] = raw[i]
	}
	return h, rows, nil
}

// decodeTop reads the members of the whole file.
func decodeTop(data []byte, member string) (h header, array []byte, err error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if err := uniqueMembers(data); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	// The schema first: a newer one may have changed all else.
	if err := json.Unmarshal(top["schema"], &h.Schema); err != nil || h.Schema < 1 {
		return h, nil, fmt.Errorf("%w: it does not say its schema", errCorrupt)
	}
	if h.Schema > schema {
		return h, nil, fmt.Errorf("%w: its schema is %d, this one knows %d", errNewer, h.Schema, schema)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	array, ok := top[member]
	if !ok || array[0] != '[' {
		return h, nil, fmt.Errorf("%w: it has no %s", errCorrupt, member)
	}
	return h, array, nil
}

// splitLines does it without decoding, for a file as encodeSnapshot lays it
// out: ten times as fast, which is what makes a table of maxRows rows usable.
// Lines that only look like it fail when they are decoded.
func splitLines(data []byte, member string) (head []byte, rows [][]byte, ok bool) {
	head, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || !bytes.HasSuffix(head, []byte(`,"`+member+`":[`)) {
		return nil, nil, false
	}
	if string(rest) == "]}\n" {
		return head, nil, true
	}
	body, ok := bytes.CutSuffix(rest, []byte("\n]}\n"))
	if !ok {
		return nil, nil, false
	}
	rows = make([][]byte, 0, bytes.Count(body, []byte("\n"))+1)
	for len(body) > 0 {
		row, next, more := bytes.Cut(body, []byte("\n"))
		if more {
			if row, ok = bytes.CutSuffix(row, []byte(",")); !ok || len(next) == 0 {
				return nil, nil, false
			}
		}
		rows, body = append(rows, row), next
	}
	return head, rows, true
}

// decodeRows decodes on every processor: it is most of the work of a view.
func decodeRows[K comparable, R any](k *kind[K, R], raw [][]byte) ([]R, error) {
	rows := make([]R, len(raw))
	workers := min(runtime.GOMAXPROCS(0), len(raw)/256+1)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * len(raw) / workers; i < (w+1)*len(raw)/workers; i++ {
				row, err := decodeRow(k, raw[i])
				if err != nil {
					errs[w] = fmt.Errorf("row %d: %w", i+1, err)
					return
				}
				rows[i] = row
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func decodeRow[K comparable, R any](k *kind[K, R], raw []byte) (R, error) {
	if k.fast != nil {
		if row, ok := k.fast(raw); ok {
			return k.check(row)
		}
	}
	var row R
	if err := json.Unmarshal(raw, &row); err != nil {
		return row, err
	}
	if err := uniqueMembers(raw); err != nil {
		return row, err
	}
	return k.check(row)
}

// uniqueMembers refuses a JSON object, known to be valid, in which a name
// stands twice: encoding/json takes the last one, and nobody can tell which was
// meant. Only the outermost object is looked at; rows have no other.
func uniqueMembers(object []byte) error {
	var names [32][]byte
	seen := names[:0]
	depth := 0
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			start := i + 1
			for i++; object[i] != '"'; i++ {
				if object[i] == '\\' {
					i++
				}
			}
			if depth != 1 || !isName(object[i+1:]) {
				continue
			}
			name := object[start:i]
			for _, s := range seen {
				if bytes.EqualFold(s, name) {
					return fmt.Errorf("it says %s twice", strconv.Quote(string(name)))
				}
			}
			seen = append(seen, name)
		}
	}
	return nil
}

// isName tells whether a colon follows the string, so that it was a name.
func isName(rest []byte) bool {
	for _, c := range rest {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c == ':'
	}
	return false
}
