package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"p2prc/tables"
)

// watched is a running --watch and the node that it watches.
type watched struct {
	t     *testing.T
	at    place
	dir   *tables.Dir
	store *tables.Store
	lines chan string
	out   *os.File // what the watch writes to
	in    *os.File // its reader
	stop  context.CancelFunc
	done  chan error
}

func aNode(t *testing.T) *watched {
	t.Helper()
	dir, err := tables.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	store, err := tables.Open(dir, tables.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(false) })
	return &watched{t: t, at: place{dir: dir.Path(), named: true}, dir: dir, store: store}
}

func (w *watched) watch(how look, screen func() (int, int, bool)) {
	w.t.Helper()
	var err error
	if w.in, w.out, err = os.Pipe(); err != nil {
		w.t.Fatal(err)
	}
	p, _, _ := testPrinter()
	p.out, p.now = w.out, time.Now
	if screen != nil {
		p.screen = screen
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.done, w.lines = stop, make(chan error, 1), make(chan string, 64)
	go func() {
		w.done <- mappingView.watch(ctx, p, w.at, how)
		w.out.Close()
	}()
	go func() {
		defer close(w.lines)
		for in := bufio.NewScanner(w.in); in.Scan(); {
			w.lines <- in.Text()
		}
	}()
	w.t.Cleanup(func() { stop(); w.in.Close() })
}

func (w *watched) commit(rows ...tables.Mapping) {
	w.t.Helper()
	if err := w.store.Commit(tables.Batch{Mappings: rows}); err != nil {
		w.t.Fatal(err)
	}
}

// line awaits the next line and checks it.
func (w *watched) line(pattern string) string {
	w.t.Helper()
	select {
	case got := <-w.lines:
		if !regexp.MustCompile(pattern).MatchString(got) {
			w.t.Fatalf("%q, want %s", got, pattern)
		}
		return got
	case err := <-w.done:
		w.t.Fatalf("it ended: %v", err)
	case <-time.After(30 * time.Second):
		w.t.Fatalf("no line, want %s", pattern)
	}
	return ""
}

func (w *watched) ended(want error) {
	w.t.Helper()
	select {
	case err := <-w.done:
		if !errors.Is(err, want) || exitCode(err) != exitDone {
			w.t.Errorf("ended with %v, want %v", err, want)
		}
	case <-time.After(30 * time.Second):
		w.t.Fatal("it does not end")
	}
}

func freshRow(name string, bind uint16) tables.Mapping {
	m := mappingRow(name, tables.TCP, bind, 3000)
	m.VerifiedAt, m.LeaseUntil = time.Now(), time.Now().Add(time.Hour)
	return m
}

func TestWatch_pipe(t *testing.T) {
	t.Parallel()
	w := aNode(t)
	w.commit(freshRow("web", 20001))
	w.watch(look{}, nil)
	w.line(`^ADDRESS +TYPE .* REASON$`)
	w.line(`^203\.0\.113\.7:20001 .* up `)

	again := freshRow("web", 20001)
	again.VerifiedAt = again.VerifiedAt.Add(5 * time.Second)
	w.commit(again) // proved again is no news
	w.commit(freshRow("dns", 20002))
	w.line(`^203\.0\.113\.7:20002 +TCP +dns `)
	w.commit(not(freshRow("web", 20001), tables.Down, "the tunnel carries no data"))
	w.line(`^203\.0\.113\.7:20001 +TCP +web .* down .* the tunnel carries no data$`)
	if err := w.store.Commit(tables.Batch{DropMappings: []tables.MappingKey{again.Key()}}); err != nil {
		t.Fatal(err)
	}
	w.line(`^203\.0\.113\.7:20001 +TCP +web .* gone +\S+ +-$`)
	if err := w.dir.Close(); err != nil { // as kill -9 drops the lock
		t.Fatal(err)
	}
	w.line(`^203\.0\.113\.7:20002 .* waiting .* p2prc is not running here`)
	w.stop()
	w.ended(nil)
}

func TestWatch_json(t *testing.T) {
	t.Parallel()
	w := aNode(t)
	w.watch(look{json: true, states: []tables.State{tables.Up}, name: "w*"}, nil)
	w.line(`^{"schema":1,"reverse_proxy_mappings":\[\]}$`)
	w.commit(freshRow("dns", 20002), freshRow("web", 20001), freshRow("www", 20003))
	got := w.line(`web`)
	var list struct {
		Rows []tables.Mapping `json:"reverse_proxy_mappings"`
	}
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list.Rows) != 2 {
		t.Errorf("%s: %v", got, err)
	}
	w.commit(not(freshRow("www", 20003), tables.Down, "x"))
	if got := w.line(`web`); strings.Contains(got, "www") {
		t.Error(got)
	}
	w.stop()
	w.ended(nil)
}

func TestWatch_readerGone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("only the next write tells there")
	}
	w := aNode(t)
	w.commit(freshRow("web", 20001))
	w.watch(look{bare: true}, nil)
	w.line(`^203\.0\.113\.7:20001 `)
	w.in.Close() // and nothing changes any more
	w.ended(errUnread)
}

func TestWatch_screen(t *testing.T) {
	t.Parallel()
	w := aNode(t)
	w.watch(look{}, func() (int, int, bool) { return 80, 5, true })
	w.line(`^\x1b\[H\x1b\[2J\x1b\[H\x1b\[\?7lno mappings are known in .*; Ctrl-C ends\x1b\[K\r?$`)
	w.commit(freshRow("a", 20001), freshRow("b", 20002), freshRow("c", 20003))
	w.line(`ADDRESS`)
	w.line(`^203\.0\.113\.7:20001 .*\x1b\[K\r?$`)
	w.line(`^203\.0\.113\.7:20002 `)
	w.line(`^1 more in `)
	w.stop()
	w.ended(nil)
}

func TestLook_flags(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want look
		err  string
	}{
		{name: "none", args: []string{"--view-rpm"}},
		{name: "json", args: []string{"--view-rpm", "-o", "json"}, want: look{json: true}},
		{name: "wide", args: []string{"--view-rps", "--output=wide", "--no-headers"}, want: look{wide: true, bare: true}},
		{
			name: "filters", args: []string{"--view-rpm", "--state=up,down", "--state=standby,waiting", "--name=w*"},
			want: look{states: []tables.State{tables.Up, tables.Down, standby, tables.Waiting}, name: "w*"},
		},
		{name: "the node's name is no filter", env: map[string]string{"P2PRC_NAME": "pi"}, args: []string{"--view-rpm"}},
		{name: "two forms", args: []string{"--view-rpm", "--json", "-o", "wide"}, err: "--json and --output do not go together"},
		{name: "no form", args: []string{"--view-rpm", "-o", "yaml"}, err: `"yaml" is not a form`},
		{name: "no state", args: []string{"--view-rpm", "--state=broken"}, err: "--state"},
		{name: "no pattern", args: []string{"--view-rpm", "--name=[a"}, err: `"[a" is not a pattern`},
		{name: "a path", args: []string{"--view-rpm", "--name=../*"}, err: "is not a name"},
		{name: "a pattern as name", args: []string{"-s", "--reverse-proxy", "--name=w*"}, err: `"w*" is not a name`},
		{name: "no view", args: []string{"-s", "--reverse-proxy", "--watch"}, err: "--watch needs --view-rps or --view-rpm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cli, err := parseWith(t, tt.env, tt.args...)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || exitCode(err) != exitUsage {
					t.Fatalf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := cli.look()
			if got.json != tt.want.json || got.wide != tt.want.wide || got.bare != tt.want.bare || got.name != tt.want.name ||
				strings.Join(names(got.states), " ") != strings.Join(names(tt.want.states), " ") {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func names(states []tables.State) (out []string) {
	for _, s := range states {
		out = append(out, string(s))
	}
	return out
}
