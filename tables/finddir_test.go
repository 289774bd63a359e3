package tables

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFindDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths below are those of Unix")
	}
	cwd, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	full := map[string]string{
		"P2PRC": "/env", "STATE_DIRECTORY": "/unit:/second", "XDG_STATE_HOME": "/xdg", "HOME": "/home/u",
	}
	for _, tt := range []struct {
		name, flag string
		unset      []string
		set        map[string]string
		root       bool
		want       string
	}{
		{name: "flag", flag: "/flag", root: true, want: "/flag"},
		{name: "relative flag", flag: "state", want: filepath.Join(cwd, "state")},
		{name: "environment", root: true, want: "/env"},
		{name: "unit", unset: []string{"P2PRC"}, root: true, want: "/unit"},
		{name: "root", unset: []string{"P2PRC", "STATE_DIRECTORY"}, root: true, want: SystemDir},
		{name: "xdg", unset: []string{"P2PRC", "STATE_DIRECTORY"}, want: "/xdg/p2prc"},
		{name: "relative xdg is ignored", unset: []string{"P2PRC", "STATE_DIRECTORY"}, set: map[string]string{"XDG_STATE_HOME": "x"}, want: "/home/u/.local/state/p2prc"},
		{name: "home", unset: []string{"P2PRC", "STATE_DIRECTORY", "XDG_STATE_HOME"}, want: "/home/u/.local/state/p2prc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{}
			for k, v := range full {
				env[k] = v
			}
			for k, v := range tt.set {
				env[k] = v
			}
			for _, k := range tt.unset {
				delete(env, k)
			}
			got, err := findDir(tt.flag, func(k string) string { return env[k] }, tt.root)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got, err := findDir("", func(string) string { return "" }, false); err == nil || !strings.Contains(err.Error(), "no state directory") {
		t.Errorf("without any hint: %q, %v", got, err)
	}
}
