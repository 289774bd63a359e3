package main

import (
	"errors"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	cli, err := parseWith(t, nil, "--help")
	if !errors.Is(err, errHelp) {
		t.Fatalf("parsing --help: %v", err)
	}
	text := help(cli.app)
	golden(t, "help.txt", text)
	for line := range strings.Lines(text) {
		if len(strings.TrimRight(line, "\n")) > helpWidth {
			t.Errorf("%q is longer than %d", line, helpWidth)
		}
	}
	for _, flag := range allFlags(cli.app.Node) {
		if flag.Help == "" || flag.Group == nil {
			t.Errorf("--%s has no help or no group", flag.Name)
		}
		for _, alias := range flag.Aliases {
			if !strings.Contains(text, "--"+alias) {
				t.Errorf("--help does not name --%s", alias)
			}
		}
	}
}

// Behind a verb --help is about that verb.
func TestHelp_ofAVerb(t *testing.T) {
	for _, args := range [][]string{{"map", "--help"}, {"map", "22", "--udp", "-h"}} {
		cli, err := parseWith(t, nil, args...)
		if !errors.Is(err, errHelp) {
			t.Fatalf("parsing %v: %v", args, err)
		}
		text := helpFor(cli.app, err)
		if !strings.HasPrefix(text, "Usage:\n  p2prc map ") || !strings.Contains(text, "--remote-port") || strings.Contains(text, "--reverse-proxy") {
			t.Errorf("%v: %s", args, text)
		}
	}
}
