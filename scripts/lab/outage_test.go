//go:build linux

package lab

import (
	"fmt"
	"testing"
	"time"
)

// What is promised, and 5 s for a machine that does other things too.
const (
	busy      = 5 * time.Second
	downLimit = 2*(5*time.Second+2*time.Second) + busy // two probes, 5 s apart, 2 s each
	backLimit = 20*time.Second + busy                  // F31
)

// pair is the lab that most tests begin with: a reverse proxy and a server
// with its rows up.
type pair struct {
	*lab
	proxy, server *node
	maps          mappings
	ports         map[string]uint16
}

func newPair(t *testing.T) pair {
	t.Helper()
	l := newLab(t)
	l.serveAll()
	p := pair{lab: l, proxy: l.reverseProxy(), maps: mappings{"home", []string{ownPort, "web", "pulse", "echo"}}}
	p.server = l.server("home", p.proxy.joinString(), mapWeb, mapPulse, mapEcho)
	p.server.run(nil)
	p.maps.awaitUp(upLimit, time.Time{}, p.server, p.proxy)
	p.ports = p.maps.ports(p.server)
	if err := p.webAnswers(p.ports["web"]); err != nil {
		t.Fatalf("a row says up: %v", err)
	}
	return p
}

// awaitBack waits until all is as it was: served, and proved anew at both ends
// with the same ports. It says how long each took, from the fault's end.
func (p pair) awaitBack(what string, since time.Time) {
	p.t.Helper()
	await(p.t, "a stranger is served again", backLimit, func() error { return p.webAnswers(p.ports["web"]) })
	served := time.Since(since)
	p.maps.awaitUp(backLimit, since, p.server, p.proxy)
	p.t.Logf("%s: served again after %s, proved at both ends after %s", what, seconds(served), seconds(time.Since(since)))
	p.maps.keep(p.t, p.ports, p.server)
	p.maps.keep(p.t, p.ports, p.proxy)
	if out, err := p.ext.runHelper("ask", public(p.ports["echo"]), "5"); err != nil {
		p.t.Errorf("UDP row says up: %v %s", err, out)
	}
}

// TestBlackHole is F16: the router drops all, without a reset. frpc goes on
// saying running for 34 s.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.blackHole()
	example, took := p.maps.awaitNotUp(downLimit, p.server)
	t.Logf("at the server after %s: %v", seconds(took), example)
	if example.State != "down" {
		t.Errorf("state %q, want down: it worked before", example.State)
	}
	start := time.Now()
	example, _ = p.maps.awaitNotUp(downLimit, p.proxy)
	t.Logf("at the reverse proxy %s later: %v", seconds(time.Since(start)), example)

	healed := time.Now()
	p.heal()
	p.awaitBack("black hole healed", healed)
}

// TestLoss is F17. A third of what leaves the LAN is lost: all goes on. With a
// third lost both ways a connection takes seconds to open, so rows may go down;
// they say why, and come back.
func TestLoss(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	watch := func() (looked, up, served int) {
		holds(t, "rows under loss", 15*time.Second, func() error {
			looked++
			if p.webAnswers(p.ports["web"]) == nil {
				served++
			}
			r, ok := p.server.row("home", "web")
			if ok && r.State == "up" {
				up++
			} else if r.Reason == "" {
				return fmt.Errorf("%v: not up, without a reason", r)
			}
			return nil
		})
		return looked, up, served
	}
	p.lossOut()
	looked, up, served := watch()
	t.Logf("30 %% lost on the way out: of %d looks %d were served, the row was up at %d", looked, served, up)
	if up*10 < looked*9 {
		t.Errorf("30 %% lost on the way out: up at %d of %d looks, want nearly all", up, looked)
	}
	p.heal()
	p.loss()
	looked, up, served = watch()
	t.Logf("30 %% lost both ways: of %d looks %d were served, the row was up at %d", looked, served, up)
	healed := time.Now()
	p.heal()
	p.awaitBack("loss ended", healed)
}

// TestFirewall is the fault that other tools call success: the pool is closed
// on the way to the reverse proxy.
func TestFirewall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.serveAll()
	l.firewall()
	proxy := l.reverseProxy()
	maps := mappings{"home", []string{ownPort, "web", "echo"}}
	server := l.server("home", proxy.joinString(), mapWeb, mapEcho)
	server.run(nil)
	example, took := maps.awaitNotUp(upLimit, server)
	t.Logf("after %s: %v", seconds(took), example)
	holds(t, "behind a firewall", 5*time.Second, func() error {
		for _, n := range []*node{server, proxy} {
			for _, r := range n.rows() {
				if r.State == "up" || r.Reason == "" {
					return fmt.Errorf("at %s: %v", n.name, r)
				}
			}
		}
		return nil
	})
	if err := server.says("waiting"); err != nil {
		t.Errorf("the user is not told: %v", err)
	}

	l.noFirewall()
	took = maps.awaitUp(backLimit, time.Time{}, server, proxy)
	t.Logf("up by itself %s after the firewall was opened", seconds(took))
	ports := maps.ports(server)
	if err := l.webAnswers(ports["web"]); err != nil {
		t.Errorf("a row says up: %v", err)
	}

	l.firewall()
	example, took = maps.awaitNotUp(downLimit, server)
	t.Logf("closed again: after %s: %v", seconds(took), example)
	opened := time.Now()
	l.noFirewall()
	t.Logf("opened again: up after %s", seconds(maps.awaitUp(backLimit, opened, server, proxy)))
	maps.keep(t, ports, server)
}

// TestNoWait_firewall checks the exit code of a port that was granted and
// cannot be reached.
func TestNoWait_firewall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.firewall()
	server := l.server("home", l.reverseProxy().joinString())
	server.run(nil, "--no-wait")
	if code := server.exit(upLimit); code != 8 {
		t.Errorf("exit %d, want 8: granted, but not reachable from outside", code)
	}
}

// TestPowerLoss is F31: the server vanishes without a word and comes back with
// another address. To frps the old one is still there.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.unplug()
	p.server.killFRP("frpc")
	p.server.kill()
	lost := time.Now()
	p.plugIn("10.1.0.3")
	p.server.run(nil)
	p.awaitBack("power loss and another address", lost)
}

// TestNATRebinding is F33: the router gets another public address, and every
// connection through it is cut without a word.
func TestNATRebinding(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	moved := time.Now()
	p.moveRouter("203.0.113.22")
	p.awaitBack("router has another address", moved)
}

// TestServiceDown: the tunnel is fine, what it leads to is not.
func TestServiceDown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	proxy := l.reverseProxy()
	web := l.lan.startHelper("web", "127.0.0.1:8000")
	maps := mappings{"home", []string{ownPort, "web"}}
	server := l.server("home", proxy.joinString(), mapWeb)
	server.run(nil)
	maps.awaitUp(upLimit, time.Time{}, server, proxy)
	ports := maps.ports(server)

	web.kill()
	for _, n := range []*node{server, proxy} {
		took := await(t, "the row says that its service is gone", downLimit, func() error {
			r, _ := n.row("home", "web")
			if own, _ := n.row("home", ownPort); own.State != "up" {
				t.Fatalf("%v: its service is there", own)
			}
			if r.State == "up" || r.Reason == "" {
				return fmt.Errorf("%v", r)
			}
			return nil
		})
		t.Logf("at %s after %s", n.name, seconds(took))
	}
	l.lan.startHelper("web", "127.0.0.1:8000")
	t.Logf("up again after %s", seconds(maps.awaitUp(backLimit, time.Time{}, server, proxy)))
	maps.keep(t, ports, server)
}
