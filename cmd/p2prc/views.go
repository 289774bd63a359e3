package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"p2prc/tables"
)

// schema is the promise behind --json: fields are only added under it.
const schema = 1

// view is one of the two lists a user can ask for.
type view[T any] struct {
	key     string // of the rows in --json
	none    string // what is said when there is no row
	read    func(dir string, now time.Time) (tables.View[T], error)
	order   func(a, b T) int // nil: as in the table
	columns string
	cells   func(row T, now time.Time) []string // one per column
}

var mappingView = view[tables.Mapping]{
	key:     "reverse_proxy_mappings",
	none:    "no mappings are known in %s",
	read:    tables.ReadMappings,
	columns: "ADDRESS TYPE NAME SERVER LOCAL STATE AGE REASON",
	cells: func(m tables.Mapping, now time.Time) []string {
		address, local := "-", "-"
		if m.BindPort != 0 {
			address = m.Public().String()
		}
		if m.LocalAddress.IsValid() {
			local = m.LocalAddress.String()
		}
		return []string{address, string(m.Type), m.Name, m.ServerName, local, string(m.State), age(m.VerifiedAt, now), m.Reason}
	},
}

var proxyView = view[tables.ReverseProxy]{
	key:     "reverse_proxy_servers",
	none:    "no reverse proxies are known in %s",
	read:    tables.ReadProxies,
	order:   nearestFirst,
	columns: "NAME ADDRESS LATENCY STATE PORTS FREE ADMISSION FRP AGE REASON",
	cells: func(r tables.ReverseProxy, now time.Time) []string {
		latency := "-"
		if r.LatencyMS != nil {
			latency = milliseconds(*r.LatencyMS, "ms")
		}
		return []string{
			r.ServerName, fmt.Sprintf("%s:%d", r.Address, r.NodePort), latency, string(r.State), r.Ports.String(),
			strconv.Itoa(r.PortsFree), string(r.Admission), r.FRPVersion, age(r.VerifiedAt, now), r.Reason,
		}
	},
}

// nearestFirst sorts by latency as measured from here, unmeasured ones last.
func nearestFirst(a, b tables.ReverseProxy) int {
	switch {
	case a.LatencyMS == nil && b.LatencyMS == nil:
		return cmp.Compare(a.ServerName, b.ServerName)
	case a.LatencyMS == nil:
		return 1
	case b.LatencyMS == nil:
		return -1
	}
	return cmp.Or(cmp.Compare(*a.LatencyMS, *b.LatencyMS), cmp.Compare(a.ServerName, b.ServerName))
}

// place is where a view looks.
type place struct {
	dir    string
	named  bool   // by --state-dir, so that it need not be named again
	system string // read instead when dir holds no table; empty: nothing is
}

// show prints the view of a state directory. What it says about the directory
// goes to stderr: stdout carries the rows alone.
func (v view[T]) show(p *printer, at place, asJSON bool) error {
	now := p.now()
	got, dir, err := v.find(at, now)
	if err != nil {
		return err
	}
	switch {
	case len(got.Rows) == 0:
		p.note(v.none, dir)
	case !at.named:
		p.note("reading %s", dir)
	}
	if v.order != nil {
		slices.SortStableFunc(got.Rows, v.order)
	}
	w := bufio.NewWriterSize(p.out, 64<<10)
	if asJSON {
		err = v.json(w, got.Rows)
	} else if len(got.Rows) > 0 {
		err = v.table(w, got.Rows, now)
	}
	return written(cmp.Or(err, w.Flush()))
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

func (v view[T]) table(w io.Writer, rows []T, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if err := line(t, strings.Fields(v.columns)); err != nil {
		return err
	}
	for _, row := range rows {
		if err := line(t, v.cells(row, now)); err != nil {
			return err
		}
	}
	return t.Flush()
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

func (v view[T]) json(w io.Writer, rows []T) error {
	if _, err := fmt.Fprintf(w, `{"schema":%d,%q:[`, schema, v.key); err != nil {
		return err
	}
	sep := "\n"
	for _, row := range rows {
		b, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("writing a row: %w", err)
		}
		if _, err := w.Write(append([]byte(sep), b...)); err != nil {
			return err
		}
		sep = ",\n"
	}
	end := "]}\n"
	if len(rows) > 0 {
		end = "\n" + end
	}
	_, err := io.WriteString(w, end)
	return err
}

// age is how long ago t was, in the largest unit that fits.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
