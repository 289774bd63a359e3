package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"p2prc/tables"
)

const (
	// watchEvery is how soon a change shows.
	watchEvery = 250 * time.Millisecond
	// watchShare keeps the reading of a table that is long and changes all the
	// time below a tenth of one processor.
	watchShare = 10
	// redrawEvery is for the ages on a terminal, which count seconds.
	redrawEvery = time.Second
)

// gone is the state of a row that is no longer in the table. No table says so.
const gone = "gone"

// watch shows the view again whenever it changes, until ctx ends, which is no
// failure, or nobody reads it any more. A terminal shows the table as it is; a
// pipe gets each row that changed, or with --json the whole list on a line.
func (v view[T]) watch(ctx context.Context, p *printer, at place, how look) error {
	fresh := false
	watches := map[string]*tables.Watch[T]{}
	v.read = func(dir string, now time.Time) (tables.View[T], error) {
		if watches[dir] == nil {
			watches[dir] = v.follow(dir)
		}
		got, changed, err := watches[dir].Look(now)
		fresh = fresh || changed
		return got, err
	}
	_, _, onScreen := p.screen()
	feed := feed[T]{view: v, how: how}
	screen := screen[T]{view: v, how: how}
	told := false
	for {
		began := time.Now()
		fresh = false
		got, dir, err := v.find(at, p.now())
		if err != nil {
			return err
		}
		switch {
		case onScreen && !how.json:
			err = screen.draw(p, dir, got.Rows, fresh)
		case fresh:
			rows := v.pick(got.Rows, how)
			if !told {
				v.tell(p, at, dir, len(rows), len(got.Rows))
				told = true
			}
			err = feed.write(p, rows)
		}
		if err != nil {
			return written(err)
		}
		pause := time.NewTimer(max(watchEvery, watchShare*time.Since(began)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		if unread(p.out) {
			return errUnread
		}
	}
}

// feed is a view as a pipe gets it.
type feed[T comparable] struct {
	view[T]
	how    look
	header bool // it was written
	rows   []T  // as last seen; nil before the first
}

// write appends what changed.
func (f *feed[T]) write(p *printer, rows []T) error {
	before, now := f.byID(f.rows), f.byID(rows)
	var news, lost []T
	for _, row := range rows {
		if old, ok := before[f.id(row)]; !ok || f.essence(old) != f.essence(row) {
			news = append(news, row)
		}
	}
	for _, row := range f.rows {
		if _, ok := now[f.id(row)]; !ok {
			lost = append(lost, row)
		}
	}
	first := f.rows == nil
	f.rows = append(make([]T, 0, len(rows)), rows...)
	w := bufio.NewWriterSize(p.out, 64<<10)
	switch {
	case f.how.json && (first || len(news)+len(lost) > 0):
		return cmp.Or(f.json(w, rows, true), w.Flush())
	case !f.how.json && len(news)+len(lost) > 0:
		return cmp.Or(f.lines(w, lost, news, p.now()), w.Flush())
	}
	return nil
}

func (f *feed[T]) byID(rows []T) map[any]T {
	m := make(map[any]T, len(rows))
	for _, row := range rows {
		m[f.id(row)] = row
	}
	return m
}

func (f *feed[T]) lines(w io.Writer, lost, news []T, now time.Time) error {
	t := newTable(w)
	if !f.how.bare && !f.header {
		if err := line(t, f.view.header(f.how)); err != nil {
			return err
		}
	}
	f.header = true
	state := slices.Index(strings.Fields(f.columns), "STATE")
	for _, row := range lost {
		cells := f.line(row, f.how, now)
		cells[state], cells[len(cells)-1] = gone, ""
		if err := line(t, cells); err != nil {
			return err
		}
	}
	for _, row := range news {
		if err := line(t, f.line(row, f.how, now)); err != nil {
			return err
		}
	}
	return t.Flush()
}

// What a terminal is told.
const (
	clearScreen = "\x1b[H\x1b[2J"
	toTop       = "\x1b[H\x1b[?7l" // and cut lines that are too long
	toNextLine  = "\x1b[K\n"
	clearRest   = "\x1b[J\x1b[?7h"
)

// screen is a view as a terminal shows it: as many rows as there is room for,
// drawn again when anything in them changes, the ages included.
type screen[T comparable] struct {
	view[T]
	how   look
	rows  []T
	all   int // before they were picked
	at    time.Time
	drawn string // what stands there
}

func (s *screen[T]) draw(p *printer, dir string, rows []T, fresh bool) error {
	now := p.now()
	if !fresh && now.Sub(s.at) < redrawEvery {
		return nil
	}
	if fresh {
		s.rows, s.all = s.pick(rows, s.how), len(rows)
	}
	s.at = now
	text, err := s.text(p, dir, now)
	if err != nil || text == s.drawn {
		return err
	}
	out := toTop + strings.ReplaceAll(text, "\n", toNextLine) + clearRest
	if s.drawn == "" {
		out = clearScreen + out
	}
	s.drawn = text
	_, err = io.WriteString(p.out, out)
	return err
}

func (s *screen[T]) text(p *printer, dir string, now time.Time) (string, error) {
	const around = 3 // the header, the last line, and where the cursor stays
	_, height, _ := p.screen()
	rows := s.rows[:min(len(s.rows), max(height-around, 1))]
	var b bytes.Buffer
	if len(rows) > 0 {
		if err := s.table(&b, rows, s.how, now); err != nil {
			return "", err
		}
	}
	switch hidden := len(s.rows) - len(rows); {
	case s.all == 0:
		fmt.Fprintf(&b, "%s", fmt.Sprintf(s.none, printable(dir)))
	case hidden > 0:
		fmt.Fprintf(&b, "%d more in %s", hidden, printable(dir))
	default:
		fmt.Fprintf(&b, "%d of %d in %s", len(rows), s.all, printable(dir))
	}
	b.WriteString("; Ctrl-C ends\n")
	return b.String(), nil
}
