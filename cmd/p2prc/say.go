package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"p2prc/supervisor"
	"p2prc/tables"
)

// printer writes what the user reads. stdout carries what was asked for, which
// for -s are the addresses that work; everything else is stderr. Each line is
// one Write, so that it is not torn by a log line.
type printer struct {
	out, err io.Writer
	outColor bool
	errColor bool
	journal  bool // stdout goes to the systemd journal, where others read
	now      func() time.Time
	screen   func() (width, height int, ok bool) // of the terminal that out is; not ok: it is none, or cannot be drawn on
	dirFlag  string                              // " --state-dir DIR" for the commands it suggests, where one was given

	rows     map[tables.MappingKey]tables.Mapping // as last shown
	ready    bool                                 // the reverse proxy was announced
	retrying string                               // as last shown
}

func newPrinter(stdout, stderr *os.File, getenv func(string) string) *printer {
	return &printer{
		out: stdout, err: stderr,
		outColor: wantsColor(stdout, getenv), errColor: wantsColor(stderr, getenv),
		journal: inJournal(stdout, getenv("JOURNAL_STREAM")), now: time.Now,
		screen: func() (width, height int, ok bool) {
			if !takesEscapes(stdout, getenv) {
				return 0, 0, false
			}
			width, height, err := term.GetSize(int(stdout.Fd()))
			return width, height, err == nil && height > 0
		},
	}
}

// wantsColor follows no-color.org.
func wantsColor(f *os.File, getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && takesEscapes(f, getenv)
}

// takesEscapes tells whether f is a terminal that knows what they mean. A
// Windows console shows them as they are unless it is Windows Terminal.
func takesEscapes(f *os.File, getenv func(string) string) bool {
	return getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) &&
		(runtime.GOOS != "windows" || getenv("WT_SESSION") != "")
}

// fail prints an error and the way out.
func (p *printer) fail(err error) {
	fmt.Fprintf(p.err, "p2prc: %s %s\n", paint(p.errColor, red, "error:"), printable(err.Error()))
	if hint := hintOf(err); hint != "" {
		p.hint(hint)
	}
}

func (p *printer) hint(text string) { fmt.Fprintf(p.err, "p2prc: hint: %s\n", printable(text)) }

func (p *printer) warn(text string) {
	fmt.Fprintf(p.err, "p2prc: %s %s\n", paint(p.errColor, yellow, "warning:"), printable(text))
}

// note is progress: what goes on, in one line.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.err, "p2prc: %s\n", printable(fmt.Sprintf(format, args...)))
}

func hintOf(err error) string {
	if u, ok := errors.AsType[*usageError](err); ok {
		return u.hint
	}
	if f, ok := errors.AsType[*supervisor.Failure](err); ok {
		return f.Hint
	}
	if u, ok := errors.AsType[*tables.UnusableError](err); ok {
		return u.Hint
	}
	return ""
}

// printable makes text that came from outside safe to show: nothing in it can
// reach the terminal as a control sequence or begin a line of its own.
func printable(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < utf8.RuneSelf-1 {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n' && len(s) > size:
			b.WriteString("; ") // errors.Join puts one per line
		case r == '\n':
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[size:]
	}
	return b.String()
}

// The colours, of one word per line at most.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func paint(on bool, color, word string) string {
	if !on {
		return word
	}
	return "\x1b[" + color + "m" + word + "\x1b[0m"
}

// shellQuote makes s one word of a command to be copied.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// print writes one line that was asked for.
func (p *printer) print(text string) error {
	_, err := fmt.Fprintln(p.out, printable(text))
	return written(err)
}
