//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"p2prc/admin/frptest"
)

// TestLab shows with frp alone that the lab is what the other tests take it
// for: what they find is then about p2prc.
func TestLab(t *testing.T) {
	l := newLab(t)
	l.serveAll()
	l.lan.startHelper("web", lanAddr+":8000")

	l.sub("the LAN reaches out", func(t *testing.T) {
		l.pub.startHelper("web", pubAddr+":80")
		await(t, "the LAN host reads a page", readyLimit, func() error {
			_, err := l.lan.run("curl", "-sS", "--max-time", "1", "http://"+pubAddr+"/")
			return err
		})
	})
	l.sub("nobody reaches in", func(t *testing.T) {
		const service = "http://" + lanAddr + ":8000/"
		await(t, "the router reads a page", readyLimit, func() error {
			_, err := l.nat.run("curl", "-sS", "--max-time", "1", service)
			return err
		})
		l.ext.must("ip", "route", "add", "10.1.0.0/24", "via", natAddr) // a nosy neighbour
		for _, addr := range []string{lanAddr, natAddr} {
			if out, err := l.ext.run("curl", "-sS", "--max-time", "1", "http://"+addr+":8000/"); err == nil {
				t.Errorf("%s answered %q", addr, out)
			}
		}
	})

	const port = 20000
	frp := func(h host, name, config string) {
		file := filepath.Join(t.TempDir(), name+".toml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		h.start(name, nil, frptest.Path(t, name, frptest.Version), "-c", file)
	}
	frp(l.pub, "frps", "bindPort = 7000\n")
	frp(l.lan, "frpc", fmt.Sprintf(`serverAddr = %q
serverPort = 7000
loginFailExit = false
[[proxies]]
name = "web"
type = "tcp"
localPort = 8000
remotePort = %d
`, pubAddr, port))
	answers := func() error { return l.webAnswers(port) }
	silent := func() error {
		if l.webAnswers(port) == nil {
			return fmt.Errorf("it answers")
		}
		return nil
	}
	await(t, "a stranger reaches the service", readyLimit, answers)

	faults := []struct {
		name       string
		start, end func()
	}{
		{"black hole", l.blackHole, l.heal},
		{"firewall", l.firewall, l.noFirewall},
		{"unplugged", l.unplug, func() { l.plugIn(lanAddr) }},
	}
	for _, f := range faults {
		l.sub(f.name, func(t *testing.T) {
			f.start()
			await(t, "the service is gone", readyLimit, silent)
			f.end()
			await(t, "the service is back", 45*time.Second, answers)
		})
	}
	l.sub("loss", func(t *testing.T) {
		l.loss()
		defer l.heal()
		l.pub.startHelper("echo", pubAddr+":53")
		await(t, "datagrams are lost, and some are not", readyLimit, func() error {
			return lossy(l.lan)
		})
	})
}

// lossy says whether some of 40 datagrams to the public host, but not all,
// come back.
func lossy(h host) error {
	out, err := h.runHelper("count", pubAddr+":53", "40")
	if err != nil {
		return err
	}
	var back int
	if _, err := fmt.Sscan(out, &back); err != nil {
		return err
	}
	if back == 0 || back == 40 {
		return fmt.Errorf("%d of 40 came back", back)
	}
	return nil
}
