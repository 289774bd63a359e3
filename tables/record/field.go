package record

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"p2prc/tables"
)

const (
	maxFields = 32
	maxText   = 64  // of a version
	maxReason = 240 // as in the tables
)

// field is one line of what a kind says: its name, a space, the value.
type field struct{ name, value string }

// fields reads by name. The first thing that is wrong is kept.
type fields struct {
	all []field
	err error
}

// cutFields splits lines whose names must rise, so that none stands twice.
func cutFields(lines string) (*fields, error) {
	in := &fields{}
	last := ""
	for lines != "" {
		line, rest, ok := strings.Cut(lines, "\n")
		if !ok {
			return nil, errors.New("its last line has no end")
		}
		name, value, ok := strings.Cut(line, " ")
		switch {
		case !ok || tables.CheckName(name) != nil:
			return nil, fmt.Errorf("%.80q is no field", line)
		case name <= last:
			return nil, fmt.Errorf("field %s does not stand in order", name)
		case len(in.all) == maxFields:
			return nil, fmt.Errorf("it has more than %d fields", maxFields)
		}
		in.all = append(in.all, field{name, value})
		last, lines = name, rest
	}
	return in, nil
}

func (in *fields) find(name string) (string, bool) {
	for _, f := range in.all {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

func (in *fields) fail(name string, err error) {
	if err != nil && in.err == nil {
		in.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (in *fields) text(name string, limit int) string {
	s, ok := in.find(name)
	if !ok {
		in.fail(name, errors.New("it is missing"))
	} else if len(s) > limit {
		in.fail(name, fmt.Errorf("%d bytes, at most %d are allowed", len(s), limit))
	}
	return s
}

func (in *fields) name(name string) string {
	s := in.text(name, tables.MaxName)
	in.fail(name, tables.CheckName(s))
	return s
}

func (in *fields) uint(name string, bits int) uint64 {
	n, err := decodeUint(in.text(name, 20), bits)
	in.fail(name, err)
	return n
}

func (in *fields) port(name string) uint16 {
	n := in.uint(name, 16)
	if n == 0 {
		in.fail(name, errors.New("0 is no port"))
	}
	return uint16(n)
}

// portIfAny is a port that need not be there.
func (in *fields) portIfAny(name string) uint16 {
	if _, ok := in.find(name); !ok {
		return 0
	}
	return in.port(name)
}

func (in *fields) time(name string) time.Time {
	t, err := decodeTime(in.text(name, len(time.RFC3339)))
	in.fail(name, err)
	return t
}

func (in *fields) addr(name string) netip.Addr {
	s := in.text(name, maxText)
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.String() != s {
		in.fail(name, fmt.Errorf("%q is not an IPv4 address", s))
	}
	return a
}

// flag is a field that says yes by being there.
func (in *fields) flag(name string) bool {
	s, ok := in.find(name)
	if ok && s != yes {
		in.fail(name, fmt.Errorf("%.80q instead of %s", s, yes))
	}
	return ok
}

const yes = "yes"

// decodeUint reads a number in its one spelling.
func decodeUint(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.80q is not a number", s)
	}
	return n, nil
}

func encodeTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func decodeTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || encodeTime(t) != s {
		return time.Time{}, fmt.Errorf("%.80q is not a time", s)
	}
	return t.UTC(), nil
}

// printableLines refuses what would not be seen as it is: control characters,
// marks that turn the reading direction, broken UTF-8.
func printableLines(s string) error {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if (c < ' ' && c != '\n') || c == 0x7f {
				return errors.New("it has a control character")
			}
			i++
			continue
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return errors.New("it has a character that cannot be shown")
		}
		i += n
	}
	return nil
}

// printable makes any text fit to stand in a field.
func printable(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
	for end := limit; len(s) > limit; end-- {
		if utf8.RuneStart(s[end]) {
			s = s[:end]
		}
	}
	return s
}
