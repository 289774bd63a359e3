package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// The help, the man page and the completions are written from the grammar as
// kong read it. What they share is here.

// bareFlags are the flags of a line without a verb.
func bareFlags(app *kong.Application) []*kong.Flag {
	flags := slices.Clone(app.Flags)
	for _, child := range app.Children {
		if child.Hidden {
			flags = append(flags, allFlags(child)...)
		}
	}
	return flags
}

// verbs are the commands that a user may name.
func verbs(app *kong.Application) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(app.Children), func(n *kong.Node) bool { return n.Hidden })
}

// synopsis is a verb with what stands behind it.
func synopsis(verb *kong.Node) string {
	words := []string{verb.Name}
	for _, arg := range verb.Positional {
		word := argName(arg)
		if arg.IsCumulative() {
			word += "..."
		}
		if !arg.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func argName(arg *kong.Positional) string {
	if arg.Tag.PlaceHolder != "" {
		return arg.Tag.PlaceHolder
	}
	return strings.ToUpper(arg.Name)
}

// spellings are all ways to write a flag.
func spellings(flag *kong.Flag) []string {
	var all []string
	if flag.Short != 0 {
		all = append(all, "-"+string(flag.Short))
	}
	all = append(all, "--"+flag.Name)
	for _, alias := range flag.Aliases {
		all = append(all, "--"+alias)
	}
	return all
}

// choices are the values of a flag or argument that has only a few.
func choices(v *kong.Value) []string {
	list := v.Enum
	if values := v.Tag.Get("values"); values != "" {
		list = values
	}
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// A shell completes paths where the placeholder says that one is wanted.
const (
	takesDir     = "DIR"
	takesFile    = "FILE"
	takesProgram = "PATH"
)
