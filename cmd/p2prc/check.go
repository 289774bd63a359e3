package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"p2prc/tables"
)

// Validate is called by kong once every flag has its value: it refuses what
// does not go together. A flag from a weaker source than the action or role
// is meant for another command line, and is passed over.
func (c *CLI) Validate(k *kong.Context) error {
	on := c.flagsOn(k)
	if c.named = c.verb(k); c.named != "" {
		return c.checkVerb()
	}
	if c.Flags.MapPort != 0 { // P2PRC's way to say it
		c.named = "map"
		c.Map = mapVerb{Specs: []string{fmt.Sprint(c.Flags.MapPort)}, UDP: c.Flags.UDP, Domain: c.Flags.Domain, JSON: c.Flags.JSON, Timeout: mapTimeout}
	}
	chosen := fromDefault // where the action comes from, or the role of -s
	for _, group := range []string{"action", "role", "token", "output"} {
		rivals := inGroup(on, group)
		if len(rivals) > 1 {
			return c.rivalry(group, rivals)
		}
		if len(rivals) == 1 && (group == "action" || group == "role" && c.Flags.Server) {
			chosen = c.settings.source[rivals[0].Name]
		}
	}
	for _, flag := range on {
		source := c.settings.source[flag.Name]
		passedOver := source < chosen || chosen == fromDefault && source < fromCommandLine
		if !passedOver && !hasPartner(flag, on) {
			return c.lonely(flag)
		}
	}
	if len(inGroup(on, "action")) == 0 {
		return usage("run p2prc -s --reverse-proxy on a public host, p2prc -s --connect-reverse-proxy HOST behind NAT; p2prc --help shows more",
			"nothing to do")
	}
	if c.Flags.Server && len(inGroup(on, "role")) == 0 {
		return usage("add --reverse-proxy on a host with a public IPv4 address, or --connect-reverse-proxy HOST behind NAT",
			"-s needs a role")
	}
	return c.checkValues()
}

// checkValues compares the values of flags that are fine on their own.
func (c *CLI) checkValues() error {
	f := &c.Flags
	if err := tables.CheckName(string(c.Name)); err != nil && c.Name != "" && !f.ViewRPS && !f.ViewRPM {
		return usage(nameHint, "--name: %w", err)
	}
	if f.MaxPortsPerNode < 0 || c.settings.source["max-ports-per-node"] != fromDefault && f.MaxPortsPerNode == 0 {
		return usage("a node needs at least one", "--max-ports-per-node: %d is no number of ports", f.MaxPortsPerNode)
	}
	if f.ReverseProxy && f.listenPort() == uint16(f.FRPPort) {
		return usage("give --listen or --frp-port another port", "the node port and the frp port are both %d", f.FRPPort)
	}
	if f.ReverseProxy {
		used := map[uint16]string{f.listenPort(): "node", uint16(f.FRPPort): "frp"}
		for _, o := range []struct {
			name string
			port port
		}{{"http", f.HTTPPort}, {"https", f.HTTPSPort}} {
			if other := used[uint16(o.port)]; other != "" && o.port != 0 {
				return usage("give one of them another port", "the %s port and the %s port are both %d", other, o.name, o.port)
			}
			used[uint16(o.port)] = o.name
		}
	}
	if slices.ContainsFunc(f.ConnectReverseProxy, func(u upstream) bool { return !u.Token.Zero() }) {
		for _, name := range []string{"token", "token-file"} {
			if c.settings.source[name] == c.settings.source["connect-reverse-proxy"] {
				return usage("leave out --"+name, "the join string has a token already")
			}
		}
	}
	named := map[string]bool{}
	for _, up := range f.ConnectReverseProxy {
		if named[up.place()] {
			return usage("name each reverse proxy once", "--connect-reverse-proxy names %s twice", up.place())
		}
		named[up.place()] = true
	}
	// kong makes no value at all of an empty one, such as a script's empty variable.
	for _, l := range []struct {
		flag string
		n    int
		hint string
	}{
		{"connect-reverse-proxy", len(f.ConnectReverseProxy), upstreamHint},
		{"join", len(f.Join), seedHint},
		{"map", len(f.Map), mapHint},
	} {
		if c.settings.source[l.flag] != fromDefault && l.n == 0 {
			return usage(l.hint, "--%s needs a value", l.flag)
		}
	}
	return checkMaps("--map", f.Map)
}

// flagsOn are the flags somebody set, other than to false.
func (c *CLI) flagsOn(k *kong.Context) []*kong.Flag {
	var on []*kong.Flag
	for _, flag := range k.Flags() {
		if onCommandLine(k, flag) {
			c.settings.source[flag.Name] = fromCommandLine
		}
		if c.settings.source[flag.Name] != fromDefault && isOn(flag.Target.Interface()) {
			on = append(on, flag)
		}
	}
	return on
}

func inGroup(flags []*kong.Flag, xor string) []*kong.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool { return !slices.Contains(f.Xor, xor) })
}

func (c *CLI) rivalry(group string, flags []*kong.Flag) error {
	hint := map[string]string{
		"action": "run p2prc once for each",
		"role":   "a node has one role: run two, with a --state-dir each",
		"token":  "leave one of them out",
		"output": "leave one of them out",
	}[group]
	return usage(hint, "%s and %s do not go together", c.settings.spelling(flags[0]), c.settings.spelling(flags[1]))
}

// partners are the flags of which this one needs one.
func partners(flag *kong.Flag) []string {
	if with := flag.Tag.Get("with"); with != "" {
		return strings.Split(with, ",")
	}
	return nil
}

func hasPartner(flag *kong.Flag, on []*kong.Flag) bool {
	names := partners(flag)
	return len(names) == 0 || slices.ContainsFunc(on, func(f *kong.Flag) bool { return slices.Contains(names, f.Name) })
}

// example is a command line that a flag with this partner can be added to.
var example = map[string]string{
	"server":                "p2prc -s",
	"reverse-proxy":         "p2prc -s --reverse-proxy",
	"connect-reverse-proxy": "p2prc -s --connect-reverse-proxy HOST",
	"view-rps":              "p2prc --view-rps",
	"map-port":              "p2prc --map-port 3000",
}

func (c *CLI) lonely(flag *kong.Flag) error {
	names := partners(flag)
	summary := "--" + flag.Name
	if !flag.IsBool() {
		summary += " " + flag.PlaceHolder
	}
	if names[0] == "server" {
		return usage("run "+example["server"]+" "+summary, "%s needs -s", c.settings.spelling(flag))
	}
	return usage("run for example "+example[names[0]]+" "+summary,
		"%s needs --%s", c.settings.spelling(flag), strings.Join(names, " or --"))
}
