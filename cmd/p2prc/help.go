package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// errHelp ends parsing because --help was found.
var errHelp = errors.New("help wanted")

// helpFlag stops the parser before it looks at what else is on the line.
type helpFlag bool

// BeforeReset is called by kong when the flag was given.
func (helpFlag) BeforeReset(k *kong.Context) error {
	if verb := k.Selected(); verb != nil && !verb.Hidden {
		return helpOf{verb}
	}
	return errHelp
}

// helpOf is errHelp behind a verb.
type helpOf struct{ verb *kong.Node }

func (helpOf) Error() string   { return errHelp.Error() }
func (helpOf) Is(e error) bool { return e == errHelp }

// helpFor is what was asked for.
func helpFor(app *kong.Application, asked error) string {
	if h, ok := errors.AsType[helpOf](asked); ok {
		return verbHelp(h.verb)
	}
	return help(app)
}

// verbHelp is what --help prints behind a verb.
func verbHelp(verb *kong.Node) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Usage:\n  p2prc %s [flags]\n\n", synopsis(verb))
	for _, line := range wrap(verb.Help, helpWidth) {
		fmt.Fprintln(&b, line)
	}
	b.WriteString("\nFlags:\n")
	for _, flag := range verb.Flags {
		if !flag.Hidden {
			helpLine(&b, "  "+helpLeft(flag), flag.Help)
		}
	}
	b.WriteString("\np2prc --help shows the flags of all commands, such as --state-dir, and the exit\ncodes; p2prc --man prints the manual.\n")
	return b.String()
}

const intro = `p2prc makes hosts behind NAT reachable through a host with a public IPv4
address. It runs frp, proves every mapping from outside, and lists what works.`

var usageLines = []string{
	"p2prc -s --reverse-proxy [flags]",
	"p2prc -s --connect-reverse-proxy HOST [flags]",
	"p2prc map SPEC... | unmap NAME... | wait NAME... | status | logs",
	"p2prc --view-rps | --view-rpm [--json] [--watch]",
	"p2prc --allow ID | --revoke ID | --revoke-token | --join-string",
}

var examples = []struct{ command, what string }{
	{"p2prc -s --reverse-proxy", "on the public host"},
	{"p2prc -s --connect-reverse-proxy 203.0.113.7", "on the host behind NAT"},
	{"p2prc -s --connect-reverse-proxy 203.0.113.7 --map ssh=22 --map 5353/udp", "with services of its own"},
	{"p2prc map web=3000 6000-6010", "on the node that runs already"},
	{"p2prc --view-rpm", "which mappings are there?"},
}

const helpTail = `
Every flag is also a variable ($P2PRC_FRP_PORT for --frp-port) and a key of the
config file: --config, or /etc/p2prc/p2prc.toml as root, or else
$XDG_CONFIG_HOME/p2prc/p2prc.toml. A flag beats a variable, and that the file.

Ctrl-C or SIGTERM takes the tunnels down in order. SIGUSR2 ends p2prc alone: the
tunnels stay up, and the next start takes them over. SIGHUP reads mappings.toml
again, but ends a p2prc whose terminal is gone.
`

var helpGroups = []struct{ key, title string }{
	{"run", "Run"},
	{"peers", "Other nodes (with a p2prc running here or not)"},
	{"view", "View"},
	{"live", "Map on the running node, as P2PRC spells it"},
	{"admit", "Admit (at the reverse proxy, running or not)"},
	{"common", "Common"},
}

// The columns where the text of a flag begins, and where a line ends.
const (
	helpText  = 29
	helpWidth = 80
)

// help is what --help prints.
func help(app *kong.Application) string {
	var b bytes.Buffer
	b.WriteString(intro + "\n\nUsage:\n")
	for _, line := range usageLines {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if len(verbs(app)) > 0 {
		b.WriteString("  p2prc COMMAND [flags]\n")
	}
	b.WriteString("\nExamples:\n")
	for _, e := range examples {
		if line := fmt.Sprintf("  %-47s  %s", e.command, e.what); len(line) <= helpWidth {
			fmt.Fprintln(&b, line)
		} else {
			fmt.Fprintf(&b, "  %s\n", e.command)
		}
	}
	for _, group := range helpGroups {
		fmt.Fprintf(&b, "\n%s:\n", group.title)
		for _, flag := range bareFlags(app) {
			if flag.Group != nil && flag.Group.Key == group.key {
				helpLine(&b, "  "+helpLeft(flag), flag.Help)
			}
		}
	}
	if all := verbs(app); len(all) > 0 {
		b.WriteString("\nCommands:\n")
		for _, verb := range all {
			helpLine(&b, "  "+synopsis(verb), verb.Help)
			for _, flag := range verb.Flags {
				if !flag.Hidden {
					helpLine(&b, "  "+helpLeft(flag), flag.Help)
				}
			}
		}
	}
	b.WriteString(helpTail)
	b.WriteString("\nExit codes:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
	}
	return b.String()
}

// helpLine puts what a flag does beside it, or below where it is too long.
func helpLine(b *bytes.Buffer, left, text string) {
	for _, line := range wrap(text, helpWidth-helpText) {
		if len(left)+2 > helpText {
			fmt.Fprintln(b, left)
			left = ""
		}
		fmt.Fprintf(b, "%-*s%s\n", helpText, left, line)
		left = ""
	}
}

func helpLeft(flag *kong.Flag) string {
	left := "    --" + flag.Name
	if flag.Short != 0 {
		left = fmt.Sprintf("-%c, --%s", flag.Short, flag.Name)
	}
	if !flag.IsBool() {
		left += " " + flag.PlaceHolder
	}
	return left
}

// wrap breaks text at spaces.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) > width:
			lines = append(lines, word)
		default:
			*last += " " + word
		}
	}
	return lines
}
