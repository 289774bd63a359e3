package frpconf_test

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/admin/frptest"
	"p2prc/frpconf"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	exampleServer = frpconf.Server{
		BindPort: 7000,
		Token:    "token-of-32-bytes",
		CertFile: "/var/lib/p2prc/private/frps.crt",
		KeyFile:  "/var/lib/p2prc/private/frps.key",
		Admin: frpconf.Web{
			Addr:     netip.MustParseAddrPort("127.0.0.1:7500"),
			User:     "p2prc",
			Password: "password-of-this-start",
		},
		Gate:      frpconf.Gate{Addr: netip.MustParseAddrPort("127.0.0.1:7600"), Path: "/gate/secret-path"},
		Allow:     []frpconf.Range{{First: 20000, Last: 29999}},
		Keepalive: 5 * time.Second,
	}
	exampleClient = frpconf.Client{
		ServerAddr:    "203.0.113.7",
		ServerPort:    7000,
		Token:         "token-of-32-bytes",
		TrustedCAFile: "/var/lib/p2prc/private/frps-of-proxy.crt",
		ServerName:    "p2prc",
		Keepalive:     5 * time.Second,
		Admin: frpconf.Web{
			Addr:     netip.MustParseAddrPort("127.0.0.1:7400"),
			User:     "p2prc",
			Password: "password-of-this-start",
		},
	}
)

// examples are the golden files, by name.
func examples() map[string]interface{ Encode() ([]byte, error) } {
	everything := exampleServer
	everything.BindAddr = netip.MustParseAddr("198.51.100.1")
	everything.ProxyBindAddr = netip.MustParseAddr("0.0.0.0")
	everything.MaxPortsPerClient = 1024
	everything.Allow = []frpconf.Range{{First: 20000, Last: 20009}, {First: 443, Last: 443}}
	everything.LogLevel = "debug"
	everything.HTTPPort, everything.HTTPSPort = 80, 443

	mapped := exampleClient
	mapped.Metadatas = map[string]frpconf.Secret{"node": "nodeid", "credential": "credential-of-this-node"}
	mapped.Proxies = []frpconf.Proxy{
		{Name: "nodeid.web", Type: "tcp", Local: netip.MustParseAddrPort("127.0.0.1:8000"), RemotePort: 20001},
		{
			Name: "nodeid.dns", Type: "udp", Local: netip.MustParseAddrPort("192.168.1.2:53"), RemotePort: 20002,
			Metadatas: map[string]string{"lease": "l1", "try": "2"},
		},
		{Name: "nodeid.app", Type: "http", Local: netip.MustParseAddrPort("127.0.0.1:3000"), Domain: "app.example.org"},
		{Name: "nodeid.app-tls", Type: "https", Local: netip.MustParseAddrPort("127.0.0.1:3443"), Domain: "app.example.org"},
		{Name: "nodeid.v6", Type: "tcp", Local: netip.MustParseAddrPort("[::1]:8000"), RemotePort: 20003},
	}

	hostile := mapped
	hostile.ServerAddr = "proxy.example.org"
	hostile.Token = `{{ .Envs.HOME }} ' " \ ''' """ {{{`
	hostile.Admin.Password = "{{\n[common]\n}}\t\x1b[31m\u202eé"
	hostile.TrustedCAFile = `C:\Users\{{x}}\frps.crt`
	hostile.Proxies = []frpconf.Proxy{{
		Name: "nodeid.web", Type: "tcp", Local: netip.MustParseAddrPort("127.0.0.1:8000"), RemotePort: 20001,
		Metadatas: map[string]string{"a": `{{"`, "b": `{{/*`, "c": `{`, "d": `{{- end -}}`, "e": "\r\n"},
	}}

	return map[string]interface{ Encode() ([]byte, error) }{
		"frps.toml":            exampleServer,
		"frps-everything.toml": everything,
		"frpc.toml":            exampleClient,
		"frpc-mapped.toml":     mapped,
		"frpc-hostile.toml":    hostile,
	}
}

func TestEncode_golden(t *testing.T) {
	for name, example := range examples() {
		t.Run(name, func(t *testing.T) {
			got, err := example.Encode()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// Every key must be known to every frp: a strict frp refuses a file with one
// that it does not know.
func TestEncode_frpAccepts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "frp[sc]*.toml"))
	if err != nil || len(files) != len(examples()) {
		t.Fatalf("%d golden files, %v, want %d", len(files), err, len(examples()))
	}
	for _, version := range frptest.Versions {
		for _, file := range files {
			t.Run(version+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				bin := frptest.Path(t, filepath.Base(file)[:len("frps")], version)
				out, err := exec.Command(bin, "verify", "--strict_config", "-c", file).CombinedOutput()
				if err != nil || !strings.Contains(string(out), "syntax is ok") {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

// The test above could not fail if verify accepted everything.
func TestVerify_refusesUnknownKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "frpc.toml")
	if err := os.WriteFile(file, []byte("serverAddr = \"127.0.0.1\"\nnonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range frptest.Versions {
		if out, err := exec.Command(frptest.Path(t, "frpc", version), "verify", "-c", file).CombinedOutput(); err == nil {
			t.Errorf("%s: %s", version, out)
		}
	}
}
