package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	cli, err := parseWith(t, nil, "--version")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       map[string]string
		err        string
	}{
		{name: "empty", want: map[string]string{}},
		{
			name: "every type", text: "# comment\nserver = true\nfrp-port = 7001\nname = \"edge\"\nmap = [\"22\", 80]\n",
			want: map[string]string{"server": "true", "frp-port": "7001", "name": "edge", "map": "22,80"},
		},
		{name: "unknown key", text: "name = \"a\"\n\nnmae = \"b\"\n", err: `:3: unknown key "nmae"`},
		{name: "alias", text: "view-reverse-proxy-servers = true", err: `:1: unknown key "view-reverse-proxy-servers"`},
		{name: "key of the command line alone", text: "\nconfig = \"x\"", err: `:2: unknown key "config"`},
		{name: "unknown table", text: "[proxy]\nname = \"a\"", err: `:1: unknown key "proxy"`},
		{name: "known key as table", text: "[name]\nx = 1", err: ": name: want a string"},
		{name: "nested list", text: "map = [[\"22\"]]", err: ": map: want a string"},
		{name: "a date", text: "name = 2026-11-23", err: ": name: want a string"},
		{name: "a fraction", text: "frp-port = 7000.5", err: ": frp-port: want a string"},
		{name: "not TOML", text: "name = \"a\"\nname: b\n", err: ":2:"},
		{name: "twice", text: "name = \"a\"\nname = \"b\"\n", err: ":"},
		{name: "not text", text: "name = \"\xff\"", err: ":1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseConfig([]byte(tt.text), cli.app)
			if (err != nil) != (tt.err != "") || !strings.Contains(fmt.Sprint(err), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("name = \"a\"\nmap = [\"22\"]\n"))
	f.Add([]byte("[name]\nx = 1"))
	cli, err := parse([]string{"--version"}, func(string) (string, bool) { return "", false }, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := parseConfig(text, cli.app)
		if err != nil && (values != nil || !strings.HasPrefix(err.Error(), ":")) {
			t.Errorf("%q: %v, %v", text, values, err)
		}
	})
}

func TestReadConfig(t *testing.T) {
	cli, err := parseWith(t, nil, "--version")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.toml")
	if c, err := readConfig(missing, false, cli.app); err != nil || len(c.values) != 0 {
		t.Errorf("a file nobody asked for: %v, %v", c, err)
	}
	if _, err := readConfig(missing, true, cli.app); exitCode(err) != exitUsage {
		t.Errorf("a file somebody asked for: %v", err)
	}
	if _, err := readConfig(dir, false, cli.app); exitCode(err) != exitUsage {
		t.Errorf("a directory: %v", err)
	}

	for _, tt := range []struct {
		name, text string
		perm       fs.FileMode
		warned     bool
	}{
		{"token for all", "token = \"x\"", 0o644, true},
		{"token for the group", "token = \"x\"", 0o640, true},
		{"token for the owner", "token = \"x\"", 0o600, false},
		{"join string for all", "connect-reverse-proxy = \"p2prc://h:1#p/t\"", 0o644, true},
		{"address for all", "connect-reverse-proxy = \"192.0.2.1\"", 0o644, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p2prc.toml")
			if err := os.WriteFile(path, []byte(tt.text), tt.perm); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.perm); err != nil {
				t.Fatal(err)
			}
			c, err := readConfig(path, true, cli.app)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.warning != ""; got != (tt.warned && runtime.GOOS != "windows") {
				t.Errorf("warning %q", c.warning)
			}
		})
	}
}

func TestFindConfig(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the places are Linux's")
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		root bool
		want string
	}{
		{"root", map[string]string{"HOME": "/root", "XDG_CONFIG_HOME": "/x"}, true, "/etc/p2prc/p2prc.toml"},
		{"user", map[string]string{"HOME": "/home/u"}, false, "/home/u/.config/p2prc/p2prc.toml"},
		{"XDG", map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": "/x"}, false, "/x/p2prc/p2prc.toml"},
		{"relative XDG does not count", map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": "x"}, false, "/home/u/.config/p2prc/p2prc.toml"},
		{"systemd", map[string]string{"CONFIGURATION_DIRECTORY": "/etc/p2prc-2:/etc/other"}, false, "/etc/p2prc-2/p2prc.toml"},
		{"homeless", nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := findConfig(func(key string) string { return tt.env[key] }, tt.root); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
