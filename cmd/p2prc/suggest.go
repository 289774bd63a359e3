package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// asFlags takes the words help and version, in a verb's place, for the flags.
func asFlags(args []string) []string {
	if len(args) == 0 {
		return args
	}
	switch args[0] {
	case "help":
		return append(slices.Clone(args[1:]), "--help")
	case "version":
		return append([]string{"--version"}, args[1:]...)
	}
	return args
}

// suggest adds what may have been meant. kong 1.17.0 does so for flags, but not
// for verbs where there is a default one, and offers any letter for another.
func suggest(app *kong.Application, err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "unknown flag -") && !strings.HasPrefix(text, "unknown flag --") {
		text, _, _ = strings.Cut(text, ", did you mean")
		return errors.New(text)
	}
	word, ok := strings.CutPrefix(text, "unexpected argument ")
	parse, isParse := errors.AsType[*kong.ParseError](err)
	if !ok || !isParse || parse.Context.Selected() != nil && !parse.Context.Selected().Hidden {
		return err
	}
	names := []string{"help", "version"}
	for _, verb := range verbs(app) {
		names = append(names, verb.Name)
	}
	near := nearest(word, names)
	if len(near) == 0 {
		var flags []string
		for _, flag := range bareFlags(app) {
			flags = append(flags, spellings(flag)...)
		}
		near = nearest(word, flags)
	}
	if len(near) > 0 {
		return fmt.Errorf("%w, did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

// nearest are the words that differ the least from what was typed, dashes aside:
// in one letter at most, from seven letters on in two.
func nearest(typed string, words []string) (near []string) {
	least := min(2, (len(typed)+1)/4)
	for _, word := range words {
		switch d := distance(typed, strings.TrimLeft(word, "-")); {
		case word == typed || d > least: // itself: it stands in the wrong place
		case d < least:
			near, least = []string{word}, d
		default:
			near = append(near, word)
		}
	}
	return near
}

// distance is how many letters have to be changed, added, left out or swapped
// with the next one to make a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			rows[i][j] = max(i, j) // where one of them is empty
			if i == 0 || j == 0 {
				continue
			}
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
