package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"p2prc/supervisor"
)

// testPrinter writes into buffers, at noon.
func testPrinter() (p *printer, out, err *bytes.Buffer) {
	out, err = new(bytes.Buffer), new(bytes.Buffer)
	p = &printer{out: out, err: err, now: func() time.Time { return noon }}
	p.screen = func() (int, int, bool) { return 0, 0, false }
	return p, out, err
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"no way out", errors.New("reading x: y"), "p2prc: error: reading x: y\n"},
		{
			"with a way out", &supervisor.Failure{Err: errors.New("frpc not found in PATH"), Hint: "pass --frpc=PATH"},
			"p2prc: error: frpc not found in PATH\np2prc: hint: pass --frpc=PATH\n",
		},
		{"wrapped usage", fmt.Errorf("--map: %w", usage("write 22", "no")), "p2prc: error: --map: no\np2prc: hint: write 22\n"},
		{"two errors", errors.Join(errors.New("one"), errors.New("two")), "p2prc: error: one; two\n"},
		{"foreign text", errors.New("peer says \x1b[2J\r\n\u202eevil\xff"), `p2prc: error: peer says \x1b[2J\r; \u202eevil\xff` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, out, stderr := testPrinter()
			p.fail(tt.err)
			if stderr.String() != tt.want || out.Len() != 0 {
				t.Errorf("got %q and stdout %q, want %q", stderr, out, tt.want)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m", "a\tb\nc", "\xff\xfe", "\u202e", "grün 日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("printable(%q) = %q", s, got)
		}
		if again := printable(got); again != got {
			t.Errorf("printable(%q) = %q, and once more %q", s, got, again)
		}
	})
}

func TestPrintable_keepsWhatIsHarmless(t *testing.T) {
	for _, s := range []string{"", "plain text ~", "grün 日本", `C:\dir`} {
		if got := printable(s); got != s {
			t.Errorf("printable(%q) = %q", s, got)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for s, want := range map[string]string{
		"203.0.113.7:8088": "203.0.113.7:8088",
		"/var/lib/p2prc":   "/var/lib/p2prc",
		"p2prc://h:1#p/t":  "'p2prc://h:1#p/t'",
		"a b":              "'a b'",
		"it's":             `'it'\''s'`,
		"":                 "''",
		"$(x)":             "'$(x)'",
	} {
		if got := shellQuote(s); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestColor_onlyOnATerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if wantsColor(f, func(string) string { return "" }) {
		t.Error("a file gets colours")
	}
	if got := paint(true, green, "up"); got != "\x1b[32mup\x1b[0m" {
		t.Errorf("paint = %q", got)
	}
}
