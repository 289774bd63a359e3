package frpconf_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"p2prc/frpconf"
)

// read does what frp does to a file (0.61.0-0.70.1, pkg/config/load.go): it
// runs the template engine, whose only value is the environment, and parses
// the rest as TOML.
func read(file []byte) (map[string]any, error) {
	none := func(string) (string, error) { return "", nil }
	t, err := template.New("frp").Funcs(template.FuncMap{
		"parseNumberRange": none, "parseNumberRangePair": none,
	}).Parse(string(file))
	if err != nil {
		return nil, err
	}
	var rendered bytes.Buffer
	if err := t.Execute(&rendered, struct{ Envs map[string]string }{map[string]string{"HOME": "/leaked"}}); err != nil {
		return nil, err
	}
	// frp takes a file with such a section for its old format; it looks at the
	// file as it is, before the templates.
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(strings.TrimSpace(line), "[common]") {
			return nil, fmt.Errorf("frp would read this as INI: %q", line)
		}
	}
	var values map[string]any
	err = toml.Unmarshal(rendered.Bytes(), &values)
	return values, err
}

// at is the value below these keys; a list's first element stands for it.
func at(values any, keys ...string) any {
	for _, key := range keys {
		if list, ok := values.([]any); ok && len(list) > 0 {
			values = list[0]
		}
		table, ok := values.(map[string]any)
		if !ok {
			return nil
		}
		values = table[key]
	}
	return values
}

// FuzzServer: whatever stands in a free field, Encode refuses it or frps reads
// exactly that.
func FuzzServer(f *testing.F) {
	f.Add("token", "cert", "key", "user", "password", "/gate")
	f.Add("{{ .Envs.HOME }}", "{{", "}}", "{{/*", "{{{{", "/{{")
	f.Add("a\n[common]\nb", "\"\"\"", "'''", "\\u007b\\u007b", "\x00", "/../x?y#z")
	f.Add("\xff\xfe", "\x7f\x1b", " ", "a:b", "\r\n", "/")
	f.Fuzz(func(t *testing.T, token, cert, key, user, password, path string) {
		s := exampleServer
		s.Token, s.CertFile, s.KeyFile = frpconf.Secret(token), cert, key
		s.Admin.User, s.Admin.Password = user, frpconf.Secret(password)
		s.Gate.Path = frpconf.Secret(path)
		file, err := s.Encode()
		if err != nil {
			return
		}
		values, err := read(file)
		if err != nil {
			t.Fatalf("%v\n%s", err, file)
		}
		got := []any{
			at(values, "auth", "token"),
			at(values, "transport", "tls", "certFile"), at(values, "transport", "tls", "keyFile"),
			at(values, "webServer", "user"), at(values, "webServer", "password"),
			at(values, "httpPlugins", "path"),
		}
		if diff := cmp.Diff([]any{token, cert, key, user, password, path}, got); diff != "" {
			t.Errorf("(-given +read):\n%s", diff)
		}
	})
}

// FuzzClient is FuzzServer for frpc.
func FuzzClient(f *testing.F) {
	f.Add("203.0.113.7", "token", "ca", "p2prc", "user", "password", "key", "value", "node.name")
	f.Add("{{", "{{ .Envs.HOME }}", "{{", "a.b-c", "{{", "{{/*", "{{", "{{- 1 -}}", "{{")
	f.Add("::1", "'", "\"", "*.x", "\n", "\\", "a b", "a\n[common]\nb", "a/b")
	f.Add("fe80::1%eth0", "é", "\u202e", "x", "\t", "{", "k", "{", "n")
	f.Fuzz(func(t *testing.T, host, token, ca, serverName, user, password, key, value, name string) {
		c := exampleClient
		c.ServerAddr, c.Token, c.TrustedCAFile, c.ServerName = host, frpconf.Secret(token), ca, serverName
		c.Admin.User, c.Admin.Password = user, frpconf.Secret(password)
		c.Metadatas = map[string]frpconf.Secret{key: frpconf.Secret(value)}
		c.Proxies = []frpconf.Proxy{{
			Name: name, Type: "tcp", Local: exampleClient.Admin.Addr, RemotePort: 1,
			Metadatas: map[string]string{key: value},
		}}
		file, err := c.Encode()
		if err != nil {
			return
		}
		values, err := read(file)
		if err != nil {
			t.Fatalf("%v\n%s", err, file)
		}
		got := []any{
			at(values, "serverAddr"), at(values, "auth", "token"),
			at(values, "transport", "tls", "trustedCaFile"), at(values, "transport", "tls", "serverName"),
			at(values, "webServer", "user"), at(values, "webServer", "password"),
			at(values, "metadatas", key), at(values, "proxies", "metadatas", key), at(values, "proxies", "name"),
		}
		if diff := cmp.Diff([]any{host, token, ca, serverName, user, password, value, value, name}, got); diff != "" {
			t.Errorf("(-given +read):\n%s", diff)
		}
	})
}

// Braces are what templates are made of: try every mix of them in one value.
func TestEncode_braces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOfN(rapid.SampledFrom([]rune("{}\"'`\\\n-/* .a")), 1, 40, -1).Draw(t, "value")
		c := exampleClient
		c.Metadatas = map[string]frpconf.Secret{"k": frpconf.Secret(value)}
		file, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		values, err := read(file)
		if err != nil {
			t.Fatalf("%v\n%s", err, file)
		}
		if got := at(values, "metadatas", "k"); got != value {
			t.Errorf("%q was read as %q", value, got)
		}
	})
}

// The oracle above must see a template that is alive.
func TestRead_runsTemplates(t *testing.T) {
	values, err := read([]byte(`token = "{{ .Envs.HOME }}"`))
	if err != nil || at(values, "token") != "/leaked" {
		t.Errorf("read = %v, %v, want the variable's value", values, err)
	}
}
