package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	goodToken  = "abcdefghijklmnopqrstuvwxyz234567"
	otherToken = "765432zyxwvutsrqponmlkjihgfedcba"
	joinWith   = "p2prc://192.0.2.1:8088#" + string(testProxy) + "/"
)

// withConfig writes a config file and gives the environment that names it.
func withConfig(t *testing.T, text string, env ...string) map[string]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p2prc.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"P2PRC_CONFIG": path}
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		all[key] = value
	}
	return all
}

func TestSettings_strongerSourceWins(t *testing.T) {
	const file = "frp-port = 7001\nname = \"from-file\"\nmap = [\"22\", \"5353/udp\"]\n"
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		port port
		call nodeName
		maps string
	}{
		{"defaults", nil, nil, 7000, "", ""},
		{"file", withConfig(t, file), nil, 7001, "from-file", "tcp-22 udp-5353"},
		{"environment over file", withConfig(t, file, "P2PRC_FRP_PORT=7002", "P2PRC_NAME=from-env", "P2PRC_MAP=80,443"), nil, 7002, "from-env", "tcp-80 tcp-443"},
		{"empty variable is none", withConfig(t, file, "P2PRC_FRP_PORT=", "P2PRC_NAME=", "P2PRC_MAP="), nil, 7001, "from-file", "tcp-22 udp-5353"},
		{"flag over all", withConfig(t, file, "P2PRC_FRP_PORT=7002", "P2PRC_NAME=from-env", "P2PRC_MAP=80"), []string{"--map=25", "--map=110", "--name=flag"}, 7002, "flag", "tcp-25 tcp-110"},
		{"empty value in the file is none", withConfig(t, "name = \"\"\nmap = []\n"), nil, 7000, "", ""},
		{"numbers and words alike", withConfig(t, "frp-port = \"7003\"\nname = 5\nmap = [22]"), nil, 7003, "5", "tcp-22"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cli, err := parseWith(t, tt.env, append([]string{"-s", "--connect-reverse-proxy=192.0.2.1"}, tt.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			var maps []string
			for _, m := range cli.Flags.Map {
				maps = append(maps, m.Name)
			}
			if got := strings.Join(maps, " "); cli.Flags.FRPPort != tt.port || cli.Name != tt.call || got != tt.maps {
				t.Errorf("frp port %d, name %q, maps %q; want %d, %q, %q", cli.Flags.FRPPort, cli.Name, got, tt.port, tt.call, tt.maps)
			}
		})
	}
}

func TestSettings_combinations(t *testing.T) {
	proxy := "server = true\nreverse-proxy = true\npublic-address = \"192.0.2.7\"\n"
	server := "server = true\nconnect-reverse-proxy = \"192.0.2.1\"\nmap = [\"22\"]\n"
	for _, tt := range []struct {
		name string
		env  map[string]string
		args string
		want string // in the error; empty: none
	}{
		{"nothing", nil, "", "nothing to do"},
		{"nothing but variables of another run", map[string]string{"P2PRC_MAP": "22", "P2PRC_JSON": "true"}, "", "nothing to do"},
		{"-s alone", nil, "-s", "-s needs a role"},
		{"-s with a flag of no role", nil, "-s --map=22", "--map needs --connect-reverse-proxy"},
		{"role without -s", nil, "--reverse-proxy", "--reverse-proxy needs -s"},
		{"two roles", nil, "-s --reverse-proxy --connect-reverse-proxy=192.0.2.1", "--reverse-proxy and --connect-reverse-proxy do not go together"},
		{"two actions", nil, "--view-rps --view-rpm", "--view-rps and --view-rpm do not go together"},
		{"a service and a view", nil, "-s --reverse-proxy --view-rpm", "-s and --view-rpm do not go together"},
		{"aliases are the flags themselves", nil, "--view-reverse-proxy-servers --view-reverse-proxy-mapping", "--view-rps and --view-rpm do not go together"},
		{"--map at a reverse proxy", nil, "-s --reverse-proxy --map=22", "--map needs --connect-reverse-proxy"},
		{"--open at a server", nil, "-s --connect-reverse-proxy=192.0.2.1 --open", "--open needs --reverse-proxy"},
		{"--json without a view", nil, "--join-string --json", "--json needs --view-rps or --view-rpm"},
		{"--listen with a view", nil, "--view-rpm --listen=:1", "--listen needs --reverse-proxy or --connect-reverse-proxy"},
		{"off is off", nil, "--view-rps=false --view-rpm --open=false", "can't be used together"},
		{"two tokens", nil, "-s --reverse-proxy --token=" + goodToken + " --token-file=x", "--token and --token-file do not go together"},
		{"a token twice", nil, "-s --connect-reverse-proxy=" + joinWith + goodToken + " --token=" + otherToken, "the join string has a token already"},
		{"a stronger token", map[string]string{"P2PRC_TOKEN": otherToken}, "-s --connect-reverse-proxy=" + joinWith + goodToken, ""},
		{"same port twice", nil, "-s --reverse-proxy --frp-port=8088", "the node port and the frp port are both 8088"},
		{"http port twice", nil, "-s --reverse-proxy --http-port=8088", "the node port and the http port are both 8088"},
		{"https port twice", nil, "-s --reverse-proxy --http-port=80 --https-port=80", "the http port and the https port are both 80"},
		{"--http-port at a server", nil, "-s --connect-reverse-proxy=192.0.2.1 --http-port=80", "--http-port needs --reverse-proxy"},
		{"--domain-name alone", nil, "--view-rpm --domain-name=app.example.org", "--domain-name needs --map-port"},
		{"P2PRC's spelling of a domain", nil, "--mp 3000 --dn app.example.org", ""},
		{"a domain for a verb", nil, "map 3000/https --domain-name app.example.org --name web", ""},
		{"a domain for two", nil, "map 3000 3001 --dn app.example.org", "--domain-name is for one mapping, and these are 2"},
		{"a domain for a range", nil, "map 3000-3001 --dn app.example.org", "app.example.org can lead to one port only"},
		{"two domains", nil, "map b.example.org=3000 --dn app.example.org", "there are two domains"},
		{"no domain", nil, "map 3000 --dn app", "write all of it"},
		{"a domain over UDP", nil, "map 3000 --udp --dn app.example.org", "a mapping of udp has no domain"},
		{"unmap a domain", nil, "unmap app.example.org", ""},
		{"wait for a domain", nil, "wait app.example.org", "is not a name"},
		{"version with anything", nil, "--version --view-rps", "--version and --view-rps do not go together"},

		{"service from the file", withConfig(t, proxy), "", ""},
		{"view beside a service in the file", withConfig(t, proxy), "--view-rpm", ""},
		{"role in the file, -s here", withConfig(t, "reverse-proxy = true"), "-s", ""},
		{"role in the file, no -s", withConfig(t, "reverse-proxy = true"), "", "nothing to do"},
		{"other role than in the file", withConfig(t, server), "-s --reverse-proxy", ""},
		{"other role than in the environment", map[string]string{"P2PRC_SERVER": "1", "P2PRC_CONNECT_REVERSE_PROXY": "192.0.2.1", "P2PRC_MAP": "22"}, "-s --reverse-proxy", ""},
		{"environment over the file's role", withConfig(t, server, "P2PRC_REVERSE_PROXY=true"), "", ""},
		{"environment says no", withConfig(t, server, "P2PRC_REVERSE_PROXY=false"), "", ""},
		{"wrong within the file", withConfig(t, proxy+"map = [\"22\"]\n"), "", "map in "},
		{"wrong within the file, -s here", withConfig(t, proxy+"map = [\"22\"]\n"), "-s", "map in "},
		{"wrong within the environment", map[string]string{"P2PRC_SERVER": "1", "P2PRC_REVERSE_PROXY": "1", "P2PRC_MAP": "22"}, "", "$P2PRC_MAP needs --connect-reverse-proxy"},
		{"flag that the file's role lacks", withConfig(t, proxy), "--map=22", "--map needs --connect-reverse-proxy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseWith(t, tt.env, strings.Fields(tt.args)...)
			if (err != nil) != (tt.want != "") || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Fatalf("p2prc %s: %v, want %q", tt.args, err, tt.want)
			}
			if err != nil && (exitCode(err) != exitUsage || hintOf(err) == "") {
				t.Errorf("%v: exit code %d, hint %q", err, exitCode(err), hintOf(err))
			}
		})
	}
}

func TestSettings_token(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte(otherToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	join := "--connect-reverse-proxy=" + joinWith + goodToken
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"none", nil, []string{"--connect-reverse-proxy=192.0.2.1"}, ""},
		{"flag", nil, []string{"--connect-reverse-proxy=192.0.2.1", "--token=" + goodToken}, goodToken},
		{"variable", map[string]string{"P2PRC_TOKEN": goodToken}, []string{"--connect-reverse-proxy=192.0.2.1"}, goodToken},
		{"file", nil, []string{"--connect-reverse-proxy=192.0.2.1", "--token-file=" + path}, otherToken},
		{"file over variable", map[string]string{"P2PRC_TOKEN": goodToken}, []string{"--connect-reverse-proxy=192.0.2.1", "--token-file=" + path}, otherToken},
		{"join string", nil, []string{join}, goodToken},
		{"join string over variable", map[string]string{"P2PRC_TOKEN": otherToken}, []string{join}, goodToken},
		{"flag over a join string in the file", withConfig(t, "connect-reverse-proxy = \""+joinWith+goodToken+"\""), []string{"--token=" + otherToken}, otherToken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cli, err := parseWith(t, tt.env, append([]string{"-s"}, tt.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := cli.token()
			if ups := cli.upstreams(got); len(ups) > 0 {
				got = ups[0].Token
			}
			if err != nil || got.Reveal() != tt.want {
				t.Errorf("the token is %q, %v; want %q", got.Reveal(), err, tt.want)
			}
		})
	}
}

func TestSettings_noSecretInErrors(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
	}{
		{"flag", nil, []string{"-s", "--reverse-proxy", "--token=" + secret}},
		{"variable", map[string]string{"P2PRC_TOKEN": secret}, []string{"-s", "--reverse-proxy"}},
		{"config file", withConfig(t, "token = \""+secret+"\""), []string{"-s", "--reverse-proxy"}},
		{"join string", nil, []string{"-s", "--connect-reverse-proxy=" + joinWith + secret}},
		{"join string in a variable", map[string]string{"P2PRC_CONNECT_REVERSE_PROXY": joinWith + secret}, []string{"-s"}},
		{"misplaced", nil, []string{"--view-rps", "--connect-reverse-proxy=" + joinWith + goodToken + secret}},
		{"broken TOML", withConfig(t, "token = \""+secret+"\n"), []string{"-s", "--reverse-proxy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cli, err := parseWith(t, tt.env, tt.args...)
			if err == nil {
				t.Fatal("no error")
			}
			if text := fmt.Sprintf("%v %s %+v", err, hintOf(err), cli.Token); strings.Contains(text, secret) {
				t.Errorf("the secret is in %q", text)
			}
		})
	}
}

// TestGrammar_defaultCommand says why there is a hidden default
// command: without one, kong 1.17.0 refuses flags-only lines once a verb exists.
func TestGrammar_defaultCommand(t *testing.T) {
	cli, err := parseWith(t, nil, "--view-rpm", "--json")
	if err != nil {
		t.Fatal(err)
	}
	def := cli.app.DefaultCmd
	if def == nil || !def.Hidden || def.Tag.Default != "withargs" {
		t.Fatal("the grammar has no hidden default command with arguments")
	}
}
