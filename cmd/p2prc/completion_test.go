package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// withVerbs is the grammar with commands that have what commands can have.
type withVerbs struct {
	CLI
	Frob frobVerb `cmd:"" help:"Frob a 'thing' (it's [new])."`
	Stop struct{} `cmd:"" help:"Stop: now."`
}

type frobVerb struct {
	Thing []string `arg:"" placeholder:"THING" help:"What to frob."`
	Hard  string   `enum:"yes,no" default:"no" placeholder:"HOW" help:"Frob it hard."`
	Into  string   `placeholder:"DIR" help:"Frob into DIR."`
}

func grammars(t *testing.T) map[string]*kong.Application {
	t.Helper()
	bare, err := parseWith(t, nil, "--version")
	if err != nil {
		t.Fatal(err)
	}
	k, err := kong.New(&withVerbs{}, kong.Name("p2prc"), kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*kong.Application{"flags": bare.app, "verbs": k.Model}
}

func shellFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompletion_everyFlag(t *testing.T) {
	for name, app := range grammars(t) {
		for shell, completion := range completions {
			text := completion(app)
			for _, flag := range allFlags(app.Node) {
				want := "--" + flag.Name
				if shell == "fish" {
					want = "-l " + flag.Name
				}
				if !strings.Contains(text, want) {
					t.Errorf("%s, %s: there is no %s", name, shell, want)
				}
			}
		}
	}
}

// asked is a word to complete, and some of what is offered for it.
type asked struct {
	line      string // the last word is the one
	want, not []string
}

var (
	askedFlags = []asked{
		{"p2prc --view", []string{"--view-rpm", "--view-rps"}, []string{"--version"}},
		{"p2prc --log-level ", []string{"debug", "error"}, []string{"--view-rpm"}},
		{"p2prc --view-rpm -o w", []string{"wide"}, []string{"json"}},
		{"p2prc -s --token-file /etc/host", []string{"/etc/hosts"}, nil},
		{"p2prc --state-dir /et", []string{"/etc"}, []string{"/etc/hosts"}},
		{"p2prc --token ", nil, []string{"--view-rpm", "bash"}},
		{"p2prc --completion ", []string{"bash", "zsh", "fish"}, nil},
	}
	askedVerbs = []asked{
		{"p2prc fr", []string{"frob"}, []string{"stop"}},
		{"p2prc frob --h", []string{"--hard", "--help"}, nil},
		{"p2prc frob --hard ", []string{"yes", "no"}, nil},
		{"p2prc frob a --i", []string{"--into"}, nil},
		{"p2prc frob --state-d", []string{"--state-dir"}, nil},
		{"p2prc stop --in", nil, []string{"--into"}},
	}
)

func (a asked) check(t *testing.T, shell string, got []string) {
	t.Helper()
	for i, word := range got {
		word, _, _ = strings.Cut(word, "\t") // fish has the help there
		got[i] = strings.TrimSuffix(word, "/")
	}
	for _, word := range a.want {
		if !slices.Contains(got, word) {
			t.Errorf("%s: %q offers %q, want %s", shell, a.line, got, word)
		}
	}
	for _, word := range a.not {
		if slices.Contains(got, word) {
			t.Errorf("%s: %q offers %q, but not %s", shell, a.line, got, word)
		}
	}
}

// bashAsks completes $1 as readline would have it.
const bashAsks = `
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_p2prc
printf '%s\n' "${COMPREPLY[@]}"
`

func TestCompletion_bash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash")
	}
	for name, app := range grammars(t) {
		file := shellFile(t, "p2prc", bashCompletion(app))
		all := slices.Concat(askedFlags, []asked{
			{"p2prc --log-level =", []string{"debug"}, []string{"--view-rpm"}},
			{"p2prc --log-level = d", []string{"debug"}, []string{"info"}},
		})
		if name == "verbs" {
			all = append(all, askedVerbs...)
		}
		for _, a := range all {
			out, err := exec.Command("bash", append([]string{"--norc", "-c", bashAsks, "bash", file}, strings.Split(a.line, " ")...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", a.line, err, out)
			}
			a.check(t, "bash", strings.Split(strings.TrimSpace(string(out)), "\n"))
		}
	}
}

func TestCompletion_fish(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		t.Skip("there is no fish")
	}
	home := t.TempDir()
	for name, app := range grammars(t) {
		file := shellFile(t, "p2prc.fish", fishCompletion(app))
		all := askedFlags
		if name == "verbs" {
			all = slices.Concat(all, askedVerbs)
		}
		for _, a := range all {
			cmd := exec.Command("fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, a.line)
			cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", a.line, err, out)
			}
			a.check(t, "fish", strings.Split(strings.TrimSpace(string(out)), "\n"))
		}
	}
}

func TestCompletion_zsh(t *testing.T) {
	if _, err := exec.LookPath("zsh"); err != nil {
		t.Skip("there is no zsh")
	}
	for name, app := range grammars(t) {
		file := shellFile(t, "_p2prc", zshCompletion(app))
		if out, err := exec.Command("zsh", "-f", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
