package peerapi

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a sentence from the other end, in bytes.
const maxText = 300

// printable makes a sentence from the other end fit to be shown, logged and
// stored: control characters, escapes and marks that turn the reading
// direction become '?', and it ends at maxText.
func printable(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
