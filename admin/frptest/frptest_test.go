package frptest_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"p2prc/admin/frptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPath_isTheVersionAsked(t *testing.T) {
	for _, version := range frptest.Versions {
		for _, name := range []string{"frps", "frpc"} {
			out, err := exec.Command(frptest.Path(t, name, version), "-v").Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != version {
				t.Errorf("%s -v = %q, %v, want %q", name, got, err, version)
			}
		}
	}
}

func TestPort_neverTwice(t *testing.T) {
	seen := map[uint16]bool{}
	for range 120 { // more than two blocks
		port := frptest.Port(t)
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

func TestStart(t *testing.T) {
	admin := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), frptest.Port(t))
	cert, key := frptest.Cert(t, "p2prc")
	config := fmt.Sprintf("bindPort = %d\nwebServer.port = %d\ntransport.tls.certFile = %q\ntransport.tls.keyFile = %q\n",
		frptest.Port(t), admin.Port(), cert, key)
	p := frptest.Start(t, frptest.Spec{Name: "frps", Config: config, Admin: admin})
	if !strings.Contains(p.Output(), "frps started successfully") {
		t.Errorf("output = %q", p.Output())
	}
	p.Kill()
	if got := p.ExitCode(); got != -1 {
		t.Errorf("exit code = %d, want -1: killed", got)
	}
	p.Kill() // of a process that has ended: nothing happens
}

func TestRun_endsByItself(t *testing.T) {
	p := frptest.Run(t, frptest.Spec{Name: "frpc", Config: "nonsense = true\n"})
	if got := p.ExitCode(); got != 1 {
		t.Errorf("exit code = %d, want 1", got)
	}
	if !strings.Contains(p.Output(), "nonsense") {
		t.Errorf("output = %q, want the unknown key named", p.Output())
	}
}
