package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A source is where the value of a flag comes from, weakest first.
type source int

const (
	fromDefault source = iota
	fromFile
	fromEnv
	fromCommandLine
)

// settings gives kong the flags that the command line leaves open: from the
// environment, then from the config file. Of flags that exclude each other
// (xor) a stronger source silences the weaker ones: with "reverse-proxy =
// true" in the file, `p2prc --view-rpm` and `p2prc -s
// --connect-reverse-proxy HOST` do what they say.
type settings struct {
	lookup func(string) (string, bool) // of the environment
	root   bool                        // changes where the config file is looked for
	file   configFile

	confPath string            // where the config file is looked for
	source   map[string]source // by flag name, of what was taken
	last     string            // where the last value came from, for a wrong one
}

// Validate is part of kong.Resolver: the file was checked when it was read.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve is part of kong.Resolver.
func (s *settings) Resolve(k *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !isSetting(flag) || rivalIsOn(k, flag) {
		return nil, nil
	}
	if value, ok := s.env(flag); ok {
		return s.take(flag, value, fromEnv, "$"+envName(flag)), nil
	}
	if slices.ContainsFunc(rivals(k, flag), s.isOnInEnv) {
		return nil, nil
	}
	if value, ok := s.file.values[flag.Name]; ok {
		return s.take(flag, value, fromFile, s.file.path), nil
	}
	return nil, nil
}

// take notes where the value comes from. A flag that is off counts as not
// given: kong takes one that is given, even as false, for a rival.
func (s *settings) take(flag *kong.Flag, value string, from source, where string) any {
	if isOff(flag, value) {
		return nil
	}
	s.source[flag.Name], s.last = from, where
	return value
}

func isOff(flag *kong.Flag, value string) bool {
	return flag.IsBool() && slices.Contains([]string{"0", "false", "no"}, strings.ToLower(value))
}

// env is the flag's value in the environment; an empty one counts as none.
func (s *settings) env(flag *kong.Flag) (string, bool) {
	value, _ := s.lookup(envName(flag))
	return value, value != ""
}

func (s *settings) isOnInEnv(flag *kong.Flag) bool {
	value, ok := s.env(flag)
	return ok && !isOff(flag, value)
}

// spelling is how the user set the flag: what an error should name.
func (s *settings) spelling(flag *kong.Flag) string {
	switch s.source[flag.Name] {
	case fromEnv:
		return "$" + envName(flag)
	case fromFile:
		return fmt.Sprintf("%s in %s", flag.Name, s.file.path)
	}
	if flag.Name == "server" {
		return "-s" // as everybody writes it
	}
	return "--" + flag.Name
}

// whence names the variable or the file that has a word which the flag does not
// know. kong checks those last, and names the flag.
func (s *settings) whence(app *kong.Application, err error) error {
	name, words, ok := strings.Cut(err.Error(), " must be one of ")
	if !ok {
		return err
	}
	for _, flag := range bareFlags(app) {
		if name == "--"+flag.Name {
			return fmt.Errorf("%s must be one of %s", s.spelling(flag), words)
		}
	}
	return err
}

// isSetting leaves out what only makes sense on a command line. Images often
// carry a $P2PRC_VERSION of their own, and a variable that unmaps --all is a trap.
func isSetting(flag *kong.Flag) bool {
	return !slices.Contains([]string{"help", "version", "config", "completion", "man"}, flag.Name) && !(flag.Group != nil && flag.Group.Key == "live")
}

func envName(flag *kong.Flag) string {
	return "P2PRC_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
}

// rivals are the flags that exclude this one.
func rivals(k *kong.Context, flag *kong.Flag) []*kong.Flag {
	var out []*kong.Flag
	for _, f := range k.Flags() {
		if f != flag && slices.ContainsFunc(f.Xor, func(x string) bool { return slices.Contains(flag.Xor, x) }) {
			out = append(out, f)
		}
	}
	return out
}

// rivalIsOn reports whether the command line set a flag that excludes this
// one. While kong resolves, the path holds the command line and no more.
func rivalIsOn(k *kong.Context, flag *kong.Flag) bool {
	return slices.ContainsFunc(rivals(k, flag), func(r *kong.Flag) bool {
		return onCommandLine(k, r) && isOn(k.FlagValue(r))
	})
}

func onCommandLine(k *kong.Context, flag *kong.Flag) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag == flag && !p.Resolved })
}

// isOn tells --flag and --flag=value from --flag=false.
func isOn(value any) bool {
	v := reflect.ValueOf(value)
	return v.Kind() != reflect.Bool || v.Bool()
}
