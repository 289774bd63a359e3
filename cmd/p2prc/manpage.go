package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"p2prc/tables"
)

// manPage is p2prc.1, in roff. It carries no date, so that it is the same from
// the same source.
func manPage(app *kong.Application, version string) string {
	m := roff{}
	m.line(".TH P2PRC 1 \"\" %q \"User Commands\"", "p2prc "+version)
	m.section("NAME")
	m.text("p2prc - make hosts behind NAT reachable, by frp, and prove it")
	m.section("SYNOPSIS")
	for i, usage := range usageLines {
		if i > 0 {
			m.line(".br")
		}
		m.line(".B %s", quote(usage))
	}
	for _, verb := range verbs(app) {
		m.line(".br")
		m.line(".B %s", quote("p2prc "+synopsis(verb)+" [flags]"))
	}
	m.section("DESCRIPTION")
	m.text(intro)
	m.line(".PP")
	m.text("Every row in the mapping table is an address that a stranger can use right now, or the row says that it is not, and why.")
	m.section("OPTIONS")
	for _, group := range helpGroups {
		m.line(".SS %s", quote(group.title))
		for _, flag := range bareFlags(app) {
			if flag.Group != nil && flag.Group.Key == group.key {
				m.flag(flag)
			}
		}
	}
	if all := verbs(app); len(all) > 0 {
		m.section("COMMANDS")
		for _, verb := range all {
			m.line(".SS %s", quote(synopsis(verb)))
			m.text(verb.Help)
			for _, flag := range verb.Flags {
				m.flag(flag)
			}
		}
	}
	m.section("SIGNALS")
	for _, s := range signalWords {
		m.item(s.name, s.what)
	}
	m.section("EXIT STATUS")
	for _, e := range exitCodes {
		m.item(fmt.Sprint(e.code), e.meaning)
	}
	m.section("ENVIRONMENT")
	m.text(settingsText)
	for _, e := range environment {
		m.item(e.name, e.what)
	}
	m.section("FILES")
	m.item("/etc/p2prc/p2prc.toml", "flags, as TOML; of a user who is not root it is $XDG_CONFIG_HOME/p2prc/p2prc.toml")
	m.line(".PP")
	m.text("In the state directory, " + tables.SystemDir + " as root and else $XDG_STATE_HOME/p2prc:")
	for _, f := range files {
		m.item(strings.Join(f.names, ", "), f.what)
	}
	m.section("EXAMPLES")
	for _, e := range examples {
		m.line(".TP")
		m.line(".B %s", quote(e.command))
		m.text(e.what)
	}
	m.section("SEE ALSO")
	m.text("curl(1), systemctl(1), https://github.com/fatedier/frp")
	return m.String()
}

// roff is a page as man reads it.
type roff struct{ strings.Builder }

func (r *roff) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *roff) section(title string) { r.line(".SH %q", title) }

func (r *roff) item(name, what string) {
	r.line(".TP")
	r.line(".B %s", quote(name))
	r.text(what)
}

func (r *roff) flag(flag *kong.Flag) {
	if flag.Hidden {
		return
	}
	r.line(".TP")
	names := make([]string, 0, 2)
	for _, s := range spellings(flag) {
		names = append(names, `\fB`+escape(s)+`\fR`)
	}
	head := strings.Join(names, ", ")
	if !flag.IsBool() {
		head += ` \fI` + escape(flag.PlaceHolder) + `\fR`
	}
	r.line("%s", head)
	r.text(flag.Help)
}

// text is a paragraph. A line that begins with a dot or a quote would be a
// command.
func (r *roff) text(s string) {
	for _, line := range wrap(s, helpWidth) {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + escape(line)
		} else {
			line = escape(line)
		}
		r.line("%s", line)
	}
}

// escape keeps roff from reading anything into the text, and a dash a dash
// that can be copied to a shell.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// quote is the one argument of a macro.
func quote(s string) string {
	return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"`
}
