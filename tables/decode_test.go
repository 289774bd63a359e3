package tables

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// exact lets go-cmp look at addresses.
var exact = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func snapshotOf(tb testing.TB, h header, rows ...Mapping) []byte {
	tb.Helper()
	var entries []*entry[Mapping]
	for _, r := range rows {
		entries = append(entries, &entry[Mapping]{row: r})
	}
	b, err := encodeSnapshot(mappingKind, h, entries)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecodeSnapshot_layouts(t *testing.T) {
	h := header{Schema: schema, Seq: 42, WrittenAt: t0, Left: true}
	for _, n := range []int{0, 1, 3, 600} {
		var rows []Mapping
		for i := range n {
			m := aMapping(i)
			m.Name = fmt.Sprintf("web-%06d", i)
			m.NodeID = anID(1)
			rows = append(rows, m)
		}
		written := snapshotOf(t, h, rows...)
		if !bytes.HasSuffix(written, []byte("\n]}\n")) || bytes.Count(written, []byte("\n")) != n+2 {
			t.Errorf("%d rows: not one on a line", n)
		}
		var pretty, compact bytes.Buffer
		if err := errors.Join(json.Indent(&pretty, written, " ", "\t"), json.Compact(&compact, written)); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"written": written, "pretty": pretty.Bytes(), "compact": compact.Bytes()} {
			got, err := decodeSnapshot(mappingKind, data)
			if err != nil {
				t.Fatalf("%d rows, %s: %v", n, name, err)
			}
			if !got.WrittenAt.Equal(t0) || got.Seq != 42 || !got.Left || len(got.rows) != n {
				t.Errorf("%d rows, %s: %+v", n, name, got.header)
			}
			if !slices.Equal(rows, got.rows) {
				t.Errorf("%d rows, %s: other rows", n, name)
			}
		}
	}
}

func TestDecodeSnapshot_unsortedRowsAreSorted(t *testing.T) {
	a, b := aMapping(1), aMapping(2)
	got, err := decodeSnapshot(mappingKind, snapshotOf(t, header{Schema: schema}, b, a))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Mapping{a, b}, got.rows, exact); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeSnapshot_corrupt(t *testing.T) {
	good := string(snapshotOf(t, header{Schema: schema, Seq: 1}, aMapping(1), aMapping(2)))
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, data := range map[string]string{
		"empty":                  "",
		"zeros":                  strings.Repeat("\x00", 1000),
		"garbage":                "not JSON\n",
		"null":                   "null\n",
		"trailing garbage":       good + "x",
		"trailing object":        good + "{}\n",
		"no schema":              change(`"schema":1,`, ""),
		"schema zero":            change(`"schema":1`, `"schema":0`),
		"schema is text":         change(`"schema":1`, `"schema":"1"`),
		"schema twice":           change(`"schema":1`, `"schema":1,"schema":1`),
		"seq is negative":        change(`"seq":1`, `"seq":-1`),
		"other rows":             change("reverse_proxy_mappings", "reverse_proxy_servers"),
		"rows are null":          `{"schema":1,"reverse_proxy_mappings":null}`,
		"rows twice":             `{"schema":1,"reverse_proxy_mappings":[],"reverse_proxy_mappings":[]}`,
		"a row twice":            string(snapshotOf(t, header{Schema: schema}, aMapping(1), aMapping(1))),
		"a name twice":           change(`"serial":1`, `"serial":1,"serial":2`),
		"a name twice, in caps":  change(`"serial":1`, `"serial":1,"SERIAL":2`),
		"unknown state":          change(`"state":"up"`, `"state":"ok"`),
		"unknown protocol":       change(`"type":"TCP"`, `"type":"SCTP"`),
		"port too large":         change(`"bind_port":20001`, `"bind_port":70000`),
		"bad name":               change(`"name":"web-1"`, `"name":"../web"`),
		"up without an address":  change(`"address":"203.0.113.7"`, `"address":""`),
		"row is null":            change(good[strings.Index(good, "\n")+1:strings.Index(good, ",\n")], "null"),
		"comma at the end":       change("}\n]}", "},\n]}"),
		"comma missing":          change("},\n", "}\n"),
		"empty line":             change("},\n", "},\n\n,"),
		"two rows on a line":     change("},\n", "},"),
		"number where a time is": change(`"verified_at":"`+t0.Format("2006-01-02T15:04:05.999999999Z07:00")+`"`, `"verified_at":7`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeSnapshot(mappingKind, []byte(data))
			if !errors.Is(err, errCorrupt) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for i := range len(good) - 1 {
		if _, err := decodeSnapshot(mappingKind, []byte(good[:i])); !errors.Is(err, errCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestDecodeSnapshot_newerSchema(t *testing.T) {
	good := string(snapshotOf(t, header{Schema: 2, Seq: 1}, aMapping(1)))
	for _, data := range []string{good, `{"schema":7,"everything":"else"}`, `{"schema":2,"reverse_proxy_mappings":{}}`} {
		if _, err := decodeSnapshot(mappingKind, []byte(data)); !errors.Is(err, errNewer) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

func TestUniqueMembers(t *testing.T) {
	for _, ok := range []string{
		`{}`, `{"a":1,"b":"a"}`, ` { "a" : {"a":1,"a":2} , "b":["a","a"] }`, `{"a":"\"","b":"x\\"}`, `{"a":"a","b":"b"}`, `[]`,
	} {
		if err := uniqueMembers([]byte(ok)); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{`{"a":1,"a":1}`, `{"a":[{}],"b":{"c":"}"},"a" : 1}`, `{"a":"\"","A":1}`} {
		if err := uniqueMembers([]byte(bad)); err == nil {
			t.Errorf("%s passes", bad)
		}
	}
}

// FuzzDecodeSnapshot: what decodes is sorted and whole, and encodes to something
// that decodes to the same.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(snapshotOf(f, header{Schema: schema, Seq: 1, WrittenAt: t0}, aMapping(1), aMapping(2)))
	f.Add(snapshotOf(f, header{Schema: schema}))
	f.Add([]byte(`{"schema":1,"reverse_proxy_mappings":[{"name":"a","type":"UDP","state":"down","reason":"\u001b[31m \u00e4","ports":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeSnapshot(mappingKind, data)
		if err != nil {
			if !errors.Is(err, errCorrupt) && !errors.Is(err, errNewer) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeSnapshot(mappingKind, snapshotOf(t, got.header, got.rows...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got.rows, again.rows, exact, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzFastMapping: the short way gives what the long one gives, or nothing.
func FuzzFastMapping(f *testing.F) {
	byName := aMapping(2)
	byName.Type, byName.Domain = HTTPS, "app.example.org"
	for _, m := range []Mapping{aMapping(1), aMapping(0), byName, {Name: "a", State: Waiting, Reason: "no port yet"}} {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		if _, ok := fastMapping(b); !ok {
			f.Fatalf("the usual layout is not recognised: %s", b)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fast, ok := fastMapping(raw)
		if !ok {
			return
		}
		var slow Mapping
		if err := json.Unmarshal(raw, &slow); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if err := uniqueMembers(raw); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slow, fast, exact); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	})
}
