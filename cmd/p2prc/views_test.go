package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2prc/tables"
)

// showing is the view v with rows that no file holds.
func showing[T comparable](v view[T], rows ...T) view[T] {
	v.read = func(string, time.Time) (tables.View[T], error) {
		return tables.View[T]{Rows: rows, Files: []string{"table"}, Running: true}, nil
	}
	return v
}

func someMappings() []tables.Mapping {
	down := not(mappingRow("udp-5353", tables.UDP, 25353, 5353), tables.Down, "the tunnel carries no data")
	down.VerifiedAt = noon.Add(-3 * time.Hour)
	evil := not(mappingRow("web", tables.TCP, 0, 3000), tables.Waiting, "peer says \x1b[2J\nADDRESS")
	evil.ServerName, evil.VerifiedAt, evil.LocalAddress = "\x1b]0;x\a", time.Time{}, netip.AddrPort{}
	return []tables.Mapping{mappingRow("p2prc", tables.TCP, 20017, 20017), down, evil}
}

func someProxies() []tables.ReverseProxy {
	near, far := 0.42, 181.6
	slow := proxyRow()
	slow.ServerName, slow.LatencyMS, slow.NodePort, slow.Admission = "far", &far, 9000, tables.AdmitOpen
	unknown := proxyRow()
	unknown.ServerName, unknown.LatencyMS, unknown.State, unknown.Reason, unknown.VerifiedAt = "a-new-one", nil, tables.Waiting, "not yet seen from outside", time.Time{}
	unknown.FRPVersion = ""
	close := proxyRow()
	close.ServerName, close.LatencyMS, close.VerifiedAt = "near", &near, noon.Add(-50*time.Hour)
	return []tables.ReverseProxy{unknown, slow, close}
}

// TestPick_byState: every word that the column can show picks its rows.
func TestPick_byState(t *testing.T) {
	rows := someMappings()
	rows[0].Standby = true
	rows = append(rows, mappingRow("ssh", tables.TCP, 20022, 22))
	for word, want := range map[tables.State]string{
		standby: "p2prc", tables.Up: "p2prc ssh", tables.Down: "udp-5353", tables.Waiting: "web",
	} {
		var got []string
		for _, row := range mappingView.pick(rows, look{states: []tables.State{word}}) {
			got = append(got, row.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("--state %s picks %v, want %s", word, got, want)
		}
	}
}

func TestViews(t *testing.T) {
	here := place{dir: "/srv/p2prc", named: true}
	found := place{dir: "/home/u/.local/state/p2prc"}
	for _, tt := range []struct {
		name string
		show func(*printer) error
	}{
		{"rpm.txt", func(p *printer) error { return showing(mappingView, someMappings()...).show(p, here, look{}) }},
		{"rpm.json", func(p *printer) error { return showing(mappingView, someMappings()...).show(p, here, look{json: true}) }},
		{"rpm-found.txt", func(p *printer) error { return showing(mappingView, someMappings()[:1]...).show(p, found, look{}) }},
		{"rpm-none.txt", func(p *printer) error { return showing(mappingView).show(p, here, look{}) }},
		{"rpm-none.json", func(p *printer) error { return showing(mappingView).show(p, found, look{json: true}) }},
		{"rps.txt", func(p *printer) error { return showing(proxyView, someProxies()...).show(p, here, look{}) }},
		{"rps.json", func(p *printer) error { return showing(proxyView, someProxies()...).show(p, here, look{json: true}) }},
		{"rpm-wide.txt", func(p *printer) error {
			return showing(mappingView, someMappings()...).show(p, here, look{wide: true})
		}},
		{"rpm-bare.txt", func(p *printer) error {
			return showing(mappingView, someMappings()...).show(p, here, look{bare: true, name: "[uw]*"})
		}},
		{"rpm-picked-none.txt", func(p *printer) error {
			return showing(mappingView, someMappings()...).show(p, here, look{name: "nobody"})
		}},
		{"rps-wide.txt", func(p *printer) error {
			return showing(proxyView, someProxies()...).show(p, here, look{wide: true, states: []tables.State{tables.Up}})
		}},
		{"rps-none.txt", func(p *printer) error { return showing(proxyView).show(p, found, look{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, out, stderr := testPrinter()
			if err := tt.show(p); err != nil {
				t.Fatal(err)
			}
			golden(t, "view-"+tt.name, "-- stdout --\n"+out.String()+"-- stderr --\n"+stderr.String())
			if strings.HasSuffix(tt.name, ".json") && !json.Valid(out.Bytes()) {
				t.Error("stdout is not JSON")
			}
		})
	}
}

// TestView_columns is for those who cut with awk: every line has as many words
// before the reason as the header.
func TestView_columns(t *testing.T) {
	p, out, _ := testPrinter()
	rows := someMappings()
	rows[2].ServerName = ""
	if err := showing(mappingView, rows...).show(p, place{}, look{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if got := len(strings.Fields(line)); got < 8 {
			t.Errorf("%q has %d words", line, got)
		}
	}
}

func TestView_fallsBackToTheSystem(t *testing.T) {
	row := mappingRow("p2prc", tables.TCP, 20017, 20017)
	unusable := &tables.UnusableError{Path: "x", Err: fs.ErrPermission}
	type answer struct {
		view tables.View[tables.Mapping]
		err  error
	}
	none, empty := answer{}, answer{view: tables.View[tables.Mapping]{Files: []string{"table"}}}
	full := answer{view: tables.View[tables.Mapping]{Files: []string{"table"}, Rows: []tables.Mapping{row}}}
	for _, tt := range []struct {
		name         string
		own, system  answer
		pinned       bool
		wantDir      string
		wantRows     int
		wantUnusable bool
	}{
		{"own table", full, full, false, "own", 1, false},
		{"own empty table", empty, full, false, "own", 0, false},
		{"no own table", none, full, false, "system", 1, false},
		{"no table anywhere", none, none, false, "own", 0, false},
		{"no own table, but pinned to it", none, full, true, "own", 0, false},
		{"own table unreadable", answer{err: unusable}, full, false, "own", 0, true},
		{"system table unreadable", none, answer{err: unusable}, false, "system", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := mappingView
			v.read = func(dir string, _ time.Time) (tables.View[tables.Mapping], error) {
				a := map[string]answer{"own": tt.own, "system": tt.system}[dir]
				return a.view, a.err
			}
			at := place{dir: "own", system: "system"}
			if tt.pinned {
				at.system = ""
			}
			got, dir, err := v.find(at, noon)
			if (err != nil) != tt.wantUnusable || err == nil && (dir != tt.wantDir || len(got.Rows) != tt.wantRows) {
				t.Errorf("found %d rows in %s, %v", len(got.Rows), dir, err)
			}
			if tt.wantUnusable && exitCode(err) != exitState {
				t.Errorf("exit code %d for %v", exitCode(err), err)
			}
		})
	}
}

type fullDisk struct{ err error }

func (w fullDisk) Write([]byte) (int, error) { return 0, w.err }

func TestView_stdoutGone(t *testing.T) {
	for _, tt := range []struct {
		cause error
		want  int
	}{{syscall.EPIPE, exitDone}, {syscall.ENOSPC, exitFailure}} {
		for _, asJSON := range []bool{false, true} {
			p, _, _ := testPrinter()
			p.out = fullDisk{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: tt.cause}}
			err := showing(mappingView, someMappings()...).show(p, place{}, look{json: asJSON})
			if got := exitCode(err); got != tt.want {
				t.Errorf("%v (json %t): exit code %d for %v", tt.cause, asJSON, got, err)
			}
		}
	}
}

func TestAge(t *testing.T) {
	for _, tt := range []struct {
		ago  time.Duration
		want string
	}{
		{-time.Hour, "0s"},
		{0, "0s"},
		{12 * time.Second, "12s"},
		{59999 * time.Millisecond, "59s"},
		{time.Minute, "1m"},
		{59 * time.Minute, "59m"},
		{3*time.Hour + 59*time.Minute, "3h"},
		{49 * time.Hour, "2d"},
		{2400 * time.Hour, "100d"},
	} {
		if got := age(noon.Add(-tt.ago), noon); got != tt.want {
			t.Errorf("age of %v = %s, want %s", tt.ago, got, tt.want)
		}
	}
	if got := age(time.Time{}, noon); got != "-" {
		t.Errorf("age of never = %s", got)
	}
}

func manyRows(n int) []tables.Mapping {
	rows := make([]tables.Mapping, n)
	for i := range rows {
		rows[i] = mappingRow("m", tables.TCP, uint16(10000+i%50000), uint16(1+i%60000))
	}
	return rows
}

func TestView_everyRowIsThere(t *testing.T) {
	rows := manyRows(10_000) // more than any buffer holds
	for _, asJSON := range []bool{false, true} {
		p, out, _ := testPrinter()
		if err := showing(mappingView, rows...).show(p, place{}, look{json: asJSON}); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(out.Bytes(), []byte("203.0.113.7")); got != len(rows) {
			t.Errorf("json %t: %d rows of %d", asJSON, got, len(rows))
		}
	}
}

// BenchmarkView is the printing of 100,000 rows, which may take a second
// together with the reading.
func BenchmarkView(b *testing.B) {
	rows := manyRows(100_000)
	for name, asJSON := range map[string]bool{"table": false, "json": true} {
		b.Run(name, func(b *testing.B) {
			p, _, _ := testPrinter()
			p.out = io.Discard
			for b.Loop() {
				if err := showing(mappingView, rows...).show(p, place{}, look{json: asJSON}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
