package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"p2prc/tables"
)

// schema is the promise behind --json: fields are only added under it.
const schema = 1

// look is how somebody wants to see a view.
type look struct {
	json, wide, bare bool           // bare: without a header
	states           []tables.State // empty: any
	name             string         // a pattern; empty: any
}

// wants reports whether rows that are shown in this state are meant. What stands
// by is up as well.
func (h look) wants(state tables.State) bool {
	return len(h.states) == 0 || slices.Contains(h.states, state) || state == standby && slices.Contains(h.states, tables.Up)
}

// place is where a view looks.
type place struct {
	dir    string
	named  bool   // by --state-dir, so that it need not be named again
	system string // read instead when dir holds no table; empty: nothing is
}

// show prints the view of a state directory. What it says about the directory
// goes to stderr: stdout carries the rows alone.
func (v view[T]) show(p *printer, at place, how look) error {
	now := p.now()
	got, dir, err := v.find(at, now)
	if err != nil {
		return err
	}
	rows := v.pick(got.Rows, how)
	v.tell(p, at, dir, len(rows), len(got.Rows))
	w := bufio.NewWriterSize(p.out, 64<<10)
	if how.json {
		err = v.json(w, rows, false)
	} else if len(rows) > 0 {
		err = v.table(w, rows, how, now)
	}
	return written(cmp.Or(err, w.Flush()))
}

// tell says what the rows do not.
func (v view[T]) tell(p *printer, at place, dir string, picked, all int) {
	switch {
	case all == 0:
		p.note(v.none, dir)
	case picked == 0:
		p.note("none of the %d rows in %s is one that --name and --state ask for", all, dir)
	case !at.named:
		p.note("reading %s", dir)
	}
}

// find reads the table, from the system's directory where the user's own has
// none.
func (v view[T]) find(at place, now time.Time) (tables.View[T], string, error) {
	got, err := v.read(at.dir, now)
	if err != nil || len(got.Files) > 0 || at.system == "" || at.dir == at.system {
		return got, at.dir, err
	}
	system, err := v.read(at.system, now)
	if err != nil || len(system.Files) > 0 {
		return system, at.system, err
	}
	return got, at.dir, nil
}

// pick is the rows that are meant, in the order in which they are shown.
func (v view[T]) pick(rows []T, how look) []T {
	if how.name != "" || len(how.states) > 0 {
		all := rows
		rows = nil
		for _, row := range all {
			matches, _ := path.Match(how.name, v.name(row)) // the pattern was checked
			if (how.name == "" || matches) && how.wants(v.state(row)) {
				rows = append(rows, row)
			}
		}
	}
	if v.order != nil {
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, v.order)
	}
	return rows
}

func (v view[T]) table(w io.Writer, rows []T, how look, now time.Time) error {
	t := newTable(w)
	if !how.bare {
		if err := line(t, v.header(how)); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := line(t, v.line(row, how, now)); err != nil {
			return err
		}
	}
	return t.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 8, 2, ' ', 0) }

func (v view[T]) header(how look) []string {
	columns := strings.Fields(v.columns)
	if how.wide {
		return beforeLast(columns, strings.Fields(v.more))
	}
	return columns
}

func (v view[T]) line(row T, how look, now time.Time) []string {
	cells := v.cells(row, now)
	if how.wide {
		return beforeLast(cells, v.further(row))
	}
	return cells
}

// beforeLast keeps the last column where it is: the reason is the only one
// with spaces in it.
func beforeLast(cells, more []string) []string {
	return slices.Insert(cells, len(cells)-1, more...)
}

// line writes one row. Every cell holds something, so that the columns stay
// where they are for those who cut with awk.
func line(w io.Writer, cells []string) error {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteByte('\t')
		}
		b.WriteString(printable(cmp.Or(cell, "-")))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// jsonBlock is how many rows are encoded at once: a reader that stops early
// has not made us encode them all.
const jsonBlock = 8192

// json writes the rows as one object: a line for each, or all in one.
func (v view[T]) json(w io.Writer, rows []T, oneLine bool) error {
	newline := "\n"
	if oneLine {
		newline = ""
	}
	if _, err := fmt.Fprintf(w, `{"schema":%d,%q:[`, schema, v.key); err != nil {
		return err
	}
	sep := newline
	for block := range slices.Chunk(rows, jsonBlock) {
		parts, err := encodeRows(block, ","+newline)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if _, err := io.WriteString(w, sep); err != nil {
				return err
			}
			if _, err := w.Write(part); err != nil {
				return err
			}
			sep = "," + newline
		}
	}
	end := "]}\n"
	if len(rows) > 0 {
		end = newline + end
	}
	_, err := io.WriteString(w, end)
	return err
}

// encodeRows encodes on every processor: it is most of the work.
func encodeRows[T any](rows []T, sep string) ([][]byte, error) {
	size := len(rows)/runtime.GOMAXPROCS(0) + 1
	parts := make([][]byte, (len(rows)+size-1)/size)
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			var b bytes.Buffer
			for j, row := range rows[i*size : min((i+1)*size, len(rows))] {
				text, err := json.Marshal(row)
				if err != nil {
					errs[i] = fmt.Errorf("writing a row: %w", err)
					return
				}
				if j > 0 {
					b.WriteString(sep)
				}
				b.Write(text)
			}
			parts[i] = b.Bytes()
		})
	}
	wg.Wait()
	return parts, errors.Join(errs...)
}
