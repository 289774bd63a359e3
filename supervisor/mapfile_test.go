package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"p2prc/supervisor"
)

// TestLive_mappingsFile: the file is taken over as a diff, or not at all.
func TestLive_mappingsFile(t *testing.T) {
	a, b, c := tcpEcho(t, "a"), tcpEcho(t, "b"), tcpEcho(t, "c")
	l := newLive(t, nil, a)
	file := filepath.Join(l.dir, "mappings.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(m supervisor.Map) string {
		return fmt.Sprintf("[[mapping]]\nname = %q\nlocal = %q\n", m.Name, m.Local)
	}
	reload := func() (supervisor.ReloadReply, error) { return supervisor.ReloadLive(t.Context(), l.dir) }
	write(entry(b) + entry(c))
	if got, err := reload(); err != nil || !slices.Equal(got.Added, []string{"b", "c"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	at := l.server.up("b").Public()
	ping := held(t, at)
	l.server.up("c")
	if _, err := supervisor.UnmapLive(t.Context(), l.dir, supervisor.UnmapRequest{Names: []string{"b"}}); err == nil || !strings.Contains(err.Error(), "declared in mappings.toml") {
		t.Errorf("unmapping what the file declares: %v", err)
	}
	for text, want := range map[string]string{
		entry(b) + "[[mapping]\n":                                 ":4:10: ",
		entry(b) + "[[mapping]]\nname = \"x\"\nlocal = 70000\n":   ":6:1: local: port 70000 is outside 1-65535",
		entry(b) + "[[mapping]]\nname = \"../x\"\nlocal = 3000\n": ":5:1: name: ",
		entry(b) + "[[mapping]]\nnam = \"x\"\n":                   `:5:1: unknown key "mapping.nam"`,
		entry(b) + entry(b):                                       `:5:1: name: two mappings have the name "b"`,
		entry(b) + "[[mapping]]\nlocal = 3000\nprotocol = 1\n":    ":6:1: protocol: ",
		"[[mapping]]\nname = \"a\"\nlocal = 3000\n":               `the name "a" is taken by --map`,
		"[[mapping]]\nname = \"{{ .Envs.HOME }}\"\nlocal = 1\n":   ":2:1: name: ",
		"[[mapping]]\nname = \"x\"\n":                             ":1:3: local: it is missing",

		"[[mapping]]\ndomain = \"a.b\"\nlocal = 1\nprotocol = \"tcp\"\n": ":2:1: domain: a mapping of tcp has no domain",
		"[[mapping]]\nlocal = 1\nprotocol = \"http\"\n":                  ":1:3: domain: a mapping of http needs a domain",
		"[[mapping]]\nlocal = 1\ndomain = \"*.a.b\"\n":                   `:3:1: domain: "*.a.b" is not a domain`,
		"[[mapping]]\nlocal = 1\ndomain = \"a.b\"\nremote = 80\n":        ":3:1: domain: a.b comes with the reverse proxy's http port",
		"[[mapping]]\nlocal = 1\ndomain = \"x.p2prc.invalid\"\n":         ":3:1: domain: the domain x.p2prc.invalid is for proofs",
	} {
		write(text)
		if _, err := reload(); kind(err) != supervisor.BadUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		l.has("a", "b", "c")
	}
	write(entry(b))
	if got, err := reload(); err != nil || !slices.Equal(got.Dropped, []string{"c"}) || got.Same != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	l.has("a", "b")
	ping()
	if got := l.server.up("b").Public(); got != at {
		t.Errorf("b moved from %s to %s", at, got)
	}
}
