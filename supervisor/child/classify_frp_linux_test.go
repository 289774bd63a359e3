package child_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"p2prc/admin/frptest"
	"p2prc/supervisor/child"
)

// What real releases say when they cannot go on.
func TestFRP_classify(t *testing.T) {
	t.Parallel()
	for _, version := range frptest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			classifyRelease(t, version)
		})
	}
}

func classifyRelease(t *testing.T, version string) {
	server, port := frpsSpec(t, version)
	server = withConfig(t, server, `transport.tls.force=true`)
	start(t, server)
	awaitAdmin(t, server)
	gated, gatedPort := gatedFRPS(t, version, "http://127.0.0.1:1") // nobody is there
	start(t, gated)
	awaitAdmin(t, gated)
	refusing := refusingGate(t)
	refuser, refuserPort := gatedFRPS(t, version, refusing)
	start(t, refuser)
	awaitAdmin(t, refuser)
	nobody := frptest.Port(t)
	closer := hangsUp(t)
	otherCert, _ := frptest.Cert(t, "p2prc")

	frps := func(config string) child.Spec { return frpSpec(t, "frps", version, config) }
	frpc := func(port uint16, config string) child.Spec { return frpcSpec(t, version, port, config) }
	const token = `auth.token="good"` + "\n"
	busyAdmin := frpc(port, token)
	busyAdmin.Admin = server.Admin
	busyAdmin = withConfig(t, busyAdmin, "")

	tests := []struct {
		name      string
		spec      child.Spec
		want      child.Kind
		permanent bool
		port      uint16
		line      string // part of it
	}{
		{"frps port taken", frps(fmt.Sprintf("bindAddr=\"127.0.0.1\"\nbindPort=%d", port)), child.PortTaken, true, port, "address already in use"},
		{"frpc admin port taken", busyAdmin, child.PortTaken, true, server.Admin.Addr.Port(), "address already in use"},
		{"not this host's address", frps("bindAddr=\"192.0.2.1\"\nbindPort=7000"), child.NoAddress, false, 0, "cannot assign"},
		{"unknown setting", frps("nope=1"), child.TooOldFRP, true, 0, `unknown field "nope"`},
		{"unknown flag", withArgs(frps(""), "--nonsense"), child.TooOldFRP, true, 0, "--nonsense"},
		{"port out of range", frps("bindPort=70000"), child.BadConfig, true, 0, "70000"},
		{"no TOML", frps("= ="), child.BadConfig, true, 0, ""},
		{"template", frps(`bindAddr="{{ .Nope }}"`), child.BadConfig, true, 0, "Nope"},
		{"no config file", withArgs(frps(""), "-c", "/nonexistent"), child.BadConfig, true, 0, "/nonexistent"},
		{"certificate missing", frps("bindPort=" + fmt.Sprint(nobody) + "\ntransport.tls.certFile=\"/nonexistent\"\ntransport.tls.keyFile=\"/nonexistent\""), child.BadConfig, true, 0, "/nonexistent"},
		{"unknown proxy type", frpc(port, "[[proxies]]\nname=\"a\"\ntype=\"zzz\""), child.BadConfig, true, 0, "zzz"},
		{"CA missing", frpc(port, token+`transport.tls.trustedCaFile="/nonexistent"`), child.BadConfig, true, 0, "/nonexistent"},
		{"wrong token", frpc(port, `auth.token="bad"`), child.WrongToken, false, 0, "token"},
		{"nobody there", frpc(nobody, token), child.Unreachable, false, 0, "connection refused"},
		{"no such host", withServer(t, frpc(port, token), "frps.invalid"), child.Unreachable, false, 0, "frps.invalid"},
		{"not frps", frpc(closer, token), child.HungUp, false, 0, ""},
		{"without TLS", frpc(port, token+"transport.tls.enable=false"), child.HungUp, false, 0, ""},
		{"gate down", frpc(gatedPort, token), child.GateDown, false, 0, "plugin error"},
		{"gate refuses", frpc(refuserPort, token), child.Refused, false, 0, "not today (p2prc)"},
		{
			"wrong certificate", frpc(port, token+fmt.Sprintf("transport.tls.trustedCaFile=%q\ntransport.tls.serverName=\"p2prc\"", otherCert)),
			child.WrongCertificate, false, 0, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := child.Classify(awaitDone(t, start(t, tt.spec)))
			if tt.want == child.WrongCertificate && v.Kind == child.HungUp {
				v.Kind = tt.want // 0.61.0 and 0.65.0 never tell, 0.70.1 three times out of eight
			}
			if v.Kind != tt.want || v.Permanent != tt.permanent || v.Port != tt.port || !strings.Contains(v.Line, tt.line) {
				t.Errorf("got %+v", v)
			}
			if v.Reason == "" || strings.ContainsAny(v.Reason+v.Line, "\x1b\n") || strings.Contains(v.Line, "loginFailExit") {
				t.Errorf("not fit to be shown: %+v", v)
			}
		})
	}

	t.Run("privileged port", func(t *testing.T) {
		// Root may, and so may everybody where the kernel was told so.
		if l, err := net.Listen("tcp", "127.0.0.1:443"); err == nil {
			_ = l.Close()
			t.Skip("this user may listen on port 443")
		} else if !errors.Is(err, syscall.EACCES) {
			t.Skip(err)
		}
		v := child.Classify(awaitDone(t, start(t, frps("bindAddr=\"127.0.0.1\"\nbindPort=443"))))
		if v.Kind != child.NotPermitted || v.Port != 443 || !v.Permanent {
			t.Errorf("got %+v", v)
		}
	})
	t.Run("asked to stop by somebody", func(t *testing.T) {
		s := frpc(port, token)
		p := start(t, s)
		awaitLogin(t, s)
		await(t, "the stop", func() bool { return call(t.Context(), http.MethodPost, s.Admin, "/api/stop") == nil })
		if v := child.Classify(awaitDone(t, p)); v.Kind != child.Ended || v.Permanent {
			t.Errorf("got %+v", v)
		}
	})
}

// withConfig adds to the child's config, for its present Admin.
func withConfig(t *testing.T, s child.Spec, more string) child.Spec {
	t.Helper()
	b, err := os.ReadFile(s.Args[1])
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "webServer.port") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	lines = append(lines, fmt.Sprintf("webServer.port=%d", s.Admin.Addr.Port()), more)
	if err := os.WriteFile(s.Args[1], []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func withServer(t *testing.T, s child.Spec, host string) child.Spec {
	t.Helper()
	b, err := os.ReadFile(s.Args[1])
	if err == nil {
		b = []byte(strings.Replace(string(b), `serverAddr="127.0.0.1"`, fmt.Sprintf("serverAddr=%q", host), 1))
		err = os.WriteFile(s.Args[1], b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func withArgs(s child.Spec, args ...string) child.Spec {
	s.Args = args
	return s
}

// gatedFRPS asks the gate about each login.
func gatedFRPS(t *testing.T, version, gate string) (child.Spec, uint16) {
	t.Helper()
	s, port := frpsSpec(t, version)
	plugin := fmt.Sprintf("[[httpPlugins]]\nname=\"gate\"\naddr=%q\npath=\"/x\"\nops=[\"Login\"]", gate)
	return withConfig(t, s, plugin), port
}

func refusingGate(t *testing.T) string {
	t.Helper()
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"reject":true,"reject_reason":"not today (p2prc)"}`)
	}))
	t.Cleanup(gate.Close)
	return gate.URL
}

// hangsUp is a port where every connection is closed at once.
func hangsUp(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestFRP_version(t *testing.T) {
	t.Parallel()
	for _, version := range frptest.Versions {
		for _, name := range []string{"frps", "frpc"} {
			t.Run(name+" "+version, func(t *testing.T) {
				cache := child.VersionCache{File: filepath.Join(t.TempDir(), "versions")}
				for range 2 {
					v, err := cache.VersionOf(t.Context(), frptest.Path(t, name, version))
					if err != nil || v.String() != version {
						t.Errorf("got %v, %v", v, err)
					}
				}
			})
		}
	}
}
