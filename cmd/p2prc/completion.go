package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// shell is a flag that takes the name of a shell.
type shell string

// UnmarshalText reads a name.
func (s *shell) UnmarshalText(text []byte) error {
	if completions[shell(text)] == nil {
		return usage("write bash, zsh or fish", "there are no completions for %q", text)
	}
	*s = shell(text)
	return nil
}

var completions = map[shell]func(*kong.Application) string{
	"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
}

// bashCompletion needs no other package than bash, 3.2 or newer.
func bashCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(`# bash completion for p2prc; written by p2prc --completion bash

_p2prc_offer() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do COMPREPLY+=("$line"); done
}

_p2prc() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb="" word i
	# "--flag=value" arrives as three words.
	if [[ $cur == "=" ]]; then
		cur=""
	elif [[ $prev == "=" ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	COMPREPLY=()
`)
	var words []string
	if all := verbs(app); len(all) > 0 {
		for _, verb := range all {
			words = append(words, verb.Name)
		}
		fmt.Fprintf(&b, "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase ${COMP_WORDS[i]} in\n\t\t%s) verb=${COMP_WORDS[i]}; break ;;\n\t\tesac\n\tdone\n",
			strings.Join(words, " | "))
	}
	b.WriteString("\tcase $prev in\n")
	seen := map[string]bool{}
	for _, flag := range allFlags(app.Node) {
		if flag.IsBool() || seen[flag.Name] {
			continue
		}
		seen[flag.Name] = true
		fmt.Fprintf(&b, "\t%s)\n", strings.Join(spellings(flag), " | "))
		switch values := choices(flag.Value); {
		case values != nil:
			fmt.Fprintf(&b, "\t\t_p2prc_offer < <(compgen -W %q -- \"$cur\")\n", strings.Join(values, " "))
		case flag.PlaceHolder == takesDir:
			b.WriteString("\t\tcompopt -o filenames 2>/dev/null\n\t\t_p2prc_offer < <(compgen -d -- \"$cur\")\n")
		case flag.PlaceHolder == takesFile, flag.PlaceHolder == takesProgram:
			b.WriteString("\t\tcompopt -o filenames 2>/dev/null\n\t\t_p2prc_offer < <(compgen -f -- \"$cur\")\n")
		}
		b.WriteString("\t\treturn\n\t\t;;\n")
	}
	b.WriteString("\tesac\n\tcase $verb in\n")
	for _, verb := range verbs(app) {
		fmt.Fprintf(&b, "\t%s) word=%q ;;\n", verb.Name, strings.Join(flagWords(append(verb.Flags, app.Flags...)), " "))
	}
	fmt.Fprintf(&b, "\t*) word=%q ;;\n\tesac\n", strings.Join(append(words, flagWords(bareFlags(app))...), " "))
	b.WriteString("\t_p2prc_offer < <(compgen -W \"$word\" -- \"$cur\")\n}\n\ncomplete -F _p2prc p2prc\n")
	return b.String()
}

// flagWords leaves out -x where --long says the same.
func flagWords(flags []*kong.Flag) []string {
	var words []string
	for _, flag := range flags {
		if !flag.Hidden {
			all := spellings(flag)
			words = append(words, slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, "--") })...)
		}
	}
	return words
}

func zshCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("#compdef p2prc\n# zsh completion for p2prc; written by p2prc --completion zsh\n\n_p2prc() {\n")
	all := verbs(app)
	if len(all) == 0 {
		b.WriteString("\t_arguments -s -S :" + zshSpecs(bareFlags(app), "\t\t") + "\n")
	} else {
		b.WriteString("\tlocal context state line\n\ttypeset -A opt_args\n")
		var list []string
		for _, verb := range all {
			list = append(list, fmt.Sprintf("%s\\:%s", verb.Name, zshQuote(verb.Help, `\ ()":`)))
		}
		fmt.Fprintf(&b, "\t_arguments -s -S : '1:command:((%s))' '*::: :->rest'%s && return\n\tcase $line[1] in\n",
			strings.Join(list, " "), zshSpecs(bareFlags(app), "\t\t"))
		for _, verb := range all {
			fmt.Fprintf(&b, "\t%s)\n\t\t_arguments -s -S : '*: :'%s\n\t\t;;\n",
				verb.Name, zshSpecs(append(slices.Clone(verb.Flags), app.Flags...), "\t\t\t"))
		}
		b.WriteString("\tesac\n")
	}
	b.WriteString("}\n\nif [ \"$funcstack[1]\" = _p2prc ]; then\n\t_p2prc \"$@\"\nelse\n\tcompdef _p2prc p2prc\nfi\n")
	return b.String()
}

// zshSpecs are the flags as _arguments takes them. One that was given is not
// offered again, nor is what excludes it.
func zshSpecs(flags []*kong.Flag, indent string) string {
	var b strings.Builder
	for _, flag := range flags {
		if flag.Hidden {
			continue
		}
		not := spellings(flag)
		for _, rival := range flags {
			if rival != flag && slices.ContainsFunc(rival.Xor, func(x string) bool { return slices.Contains(flag.Xor, x) }) {
				not = append(not, spellings(rival)...)
			}
		}
		prefix := "(" + strings.Join(not, " ") + ")"
		if flag.IsCumulative() {
			prefix = "*"
		}
		value := ""
		if !flag.IsBool() {
			value = ":" + flag.PlaceHolder + ":"
			switch values := choices(flag.Value); {
			case values != nil:
				value += "(" + strings.Join(values, " ") + ")"
			case flag.PlaceHolder == takesDir:
				value += "_files -/"
			case flag.PlaceHolder == takesFile, flag.PlaceHolder == takesProgram:
				value += "_files"
			default:
				value += " "
			}
		}
		for _, word := range spellings(flag) {
			if value != "" {
				word += map[bool]string{true: "=", false: "+"}[strings.HasPrefix(word, "--")]
			}
			fmt.Fprintf(&b, " \\\n%s'%s%s[%s]%s'", indent, prefix, word, zshQuote(flag.Help, `\[]`), value)
		}
	}
	return b.String()
}

// zshQuote is text within single quotes, with a backslash before what _arguments
// would take for its own.
func zshQuote(text, special string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\'':
			b.WriteString(`'\''`)
			continue
		case strings.ContainsRune(special, r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func fishCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("# fish completion for p2prc; written by p2prc --completion fish\n\ncomplete -c p2prc -f\n")
	all := verbs(app)
	var names []string
	for _, verb := range all {
		names = append(names, verb.Name)
	}
	for _, verb := range all {
		fmt.Fprintf(&b, "complete -c p2prc -n %s -a %s -d %s\n",
			fishQuote("not __fish_seen_subcommand_from "+strings.Join(names, " ")), verb.Name, fishQuote(verb.Help))
	}
	bare := ""
	if len(all) > 0 {
		bare = "not __fish_seen_subcommand_from " + strings.Join(names, " ")
	}
	for _, flag := range bareFlags(app) {
		when := bare
		if slices.Contains(app.Flags, flag) {
			when = "" // it goes with every verb
		}
		b.WriteString(fishFlag(flag, when))
	}
	for _, verb := range all {
		for _, flag := range verb.Flags {
			b.WriteString(fishFlag(flag, "__fish_seen_subcommand_from "+verb.Name))
		}
	}
	return b.String()
}

func fishFlag(flag *kong.Flag, when string) string {
	if flag.Hidden {
		return ""
	}
	line := "complete -c p2prc"
	if when != "" {
		line += " -n " + fishQuote(when)
	}
	if flag.Short != 0 {
		line += " -s " + string(flag.Short)
	}
	for _, name := range append([]string{flag.Name}, flag.Aliases...) {
		line += " -l " + name
	}
	if !flag.IsBool() {
		switch values := choices(flag.Value); {
		case values != nil:
			line += " -x -a " + fishQuote(strings.Join(values, " "))
		case flag.PlaceHolder == takesDir:
			line += " -x -a '(__fish_complete_directories)'"
		case flag.PlaceHolder == takesFile, flag.PlaceHolder == takesProgram:
			line += " -r -F"
		default:
			line += " -x"
		}
	}
	return line + " -d " + fishQuote(flag.Help) + "\n"
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
