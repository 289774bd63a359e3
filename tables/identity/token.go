package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"

	"p2prc/tables/atomicfile"
)

// The least a token must be worth. A join proof can be tried against guesses
// without asking anybody, so what is guessable is as good as no token.
const (
	minTokenBits  = 128
	minDifferent  = 6 // different characters; a random token of 128 bit has fewer once in 10^9
	maxTokenChars = 256
	newTokenBytes = 20 // 160 bit: 32 base32 characters
)

// tokenAlphabets is what a token may be written in, the smallest first.
// Dashes may group a token of one case, as in a UUID, and then count nothing.
var tokenAlphabets = []struct {
	chars  string
	size   float64
	dashes bool
}{
	{digits, 10, true},
	{digits + "abcdef", 16, true},
	{digits + "ABCDEF", 16, true},
	{lower, 26, true},
	{upper, 26, true},
	{lower + "234567", 32, true},
	{upper + "234567", 32, true},
	{lower + digits, 36, true},
	{upper + digits, 36, true},
	{lower + upper, 52, false},
	{lower + upper + digits, 62, false},
	{lower + upper + digits + "-_.~+/=", 64, false}, // base64 in its spellings
}

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// Token admits a node to the reverse proxy that made it. It prints as
// [hidden]; the zero value is no token.
type Token struct{ s *string } // behind a pointer for the reason given at Key

// NewToken makes a token of 160 random bits.
func NewToken() Token {
	b := make([]byte, newTokenBytes)
	rand.Read(b) // never fails: it ends the program instead (crypto/rand, Go 1.24)
	s := idEncoding.EncodeToString(b)
	return Token{&s}
}

// ParseToken reads a token that somebody chose, and refuses one that could be
// guessed. It measures how the token is written, it cannot tell whether chance
// wrote it. No error repeats the token.
func ParseToken(s string) (Token, error) {
	if s == "" {
		return Token{}, errors.New("the token is empty")
	}
	if len(s) > maxTokenChars {
		return Token{}, fmt.Errorf("the token is longer than %d characters", maxTokenChars)
	}
	bits, ok := tokenBits(s)
	if !ok {
		return Token{}, errors.New("a token is letters, digits and -_.~+/= without spaces")
	}
	if bits < minTokenBits {
		return Token{}, fmt.Errorf("a token needs %d bit, this one has at most %d", minTokenBits, int(bits))
	}
	if different(s) < minDifferent {
		return Token{}, fmt.Errorf("the token has fewer than %d different characters", minDifferent)
	}
	return Token{&s}, nil
}

// tokenBits is what the token is worth if chance picked every character, and
// whether only allowed characters are in it.
func tokenBits(s string) (bits float64, ok bool) {
	block := s[:period(s)]
	bare := strings.ReplaceAll(block, "-", "")
	for _, a := range tokenAlphabets {
		t := block
		if a.dashes {
			t = bare
		}
		if only(t, a.chars) {
			return float64(len(t)) * math.Log2(a.size), true
		}
	}
	return 0, false
}

// only reports whether s has no character but those of chars.
func only(s, chars string) bool { return strings.Trim(s, chars) == "" }

// period is the length of the shortest block that s repeats, len(s) if none.
func period(s string) int {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && s == strings.Repeat(s[:n], len(s)/n) {
			return n
		}
	}
	return len(s)
}

func different(s string) int {
	seen := map[byte]bool{}
	for i := range len(s) {
		seen[s[i]] = true
	}
	return len(seen)
}

// LoadToken reads a token from a file that only its owner can read.
func LoadToken(path string) (Token, error) {
	b, err := readSecret(path)
	if err != nil {
		return Token{}, err
	}
	t, err := ParseToken(strings.TrimSpace(string(b)))
	if err != nil {
		return Token{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return t, nil
}

// Save writes the token to path, for its owner only.
func (t Token) Save(path string) error {
	if t.Zero() {
		return fmt.Errorf("writing %s: there is no token to write", path)
	}
	return atomicfile.Write(path, []byte(*t.s+"\n"), secretPerm)
}

// Reveal is the token itself, for the one place that has to show it.
func (t Token) Reveal() string {
	if t.s == nil {
		return ""
	}
	return *t.s
}

// Zero reports whether there is no token.
func (t Token) Zero() bool { return t.s == nil }

// Equal compares two tokens in constant time. The operator == would compare
// where they are kept.
func (t Token) Equal(u Token) bool {
	return t.Zero() == u.Zero() && subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

func (Token) String() string       { return hidden }
func (Token) GoString() string     { return hidden }
func (Token) LogValue() slog.Value { return slog.StringValue(hidden) }
