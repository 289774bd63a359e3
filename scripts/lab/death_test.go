//go:build linux

package lab

import (
	"fmt"
	"testing"
	"time"
)

// TestDeath is F1, F3 and F4 from outside: each process of both ends is killed
// in turn. All comes back by itself, proved anew, with the same ports; p2prc
// itself is started again, as systemd does.
func TestDeath(t *testing.T) {
	t.Parallel()
	p := newPair(t)

	p.sub("frpc", func(*testing.T) {
		killed := time.Now()
		p.awaitReplaced(p.server, "frpc", p.server.killFRP("frpc"))
		p.awaitBack("frpc killed", killed)
	})
	p.sub("frps", func(*testing.T) {
		killed := time.Now()
		p.awaitReplaced(p.proxy, "frps", p.proxy.killFRP("frps"))
		p.awaitBack("frps killed", killed)
	})
	p.sub("p2prc of the server", func(*testing.T) { p.killP2PRC(p.server, "frpc") })
	p.sub("p2prc of the reverse proxy", func(*testing.T) { p.killP2PRC(p.proxy, "frps") })
	p.sub("all of the server", func(*testing.T) {
		killed := time.Now()
		p.server.kill()
		p.server.killFRP("frpc")
		p.server.run(nil)
		p.awaitBack("server's p2prc and frpc killed", killed)
	})
	p.sub("all of the reverse proxy", func(*testing.T) {
		killed := time.Now()
		p.proxy.kill()
		p.proxy.killFRP("frps")
		p.proxy.run(nil)
		p.awaitBack("proxy's p2prc and frps killed", killed)
	})
}

// awaitReplaced waits for another frps or frpc than the one that was killed.
func (p pair) awaitReplaced(n *node, name string, old int) {
	p.t.Helper()
	took := await(p.t, "another "+name, backLimit, func() error {
		if pid := n.frp(name); pid == 0 || pid == old {
			return missing{"a new " + name, n.stderr()}
		}
		return nil
	})
	p.t.Logf("another %s after %s", name, seconds(took))
}

// killP2PRC kills p2prc alone: its tunnels live on, connections included, and
// the next p2prc adopts them.
func (p pair) killP2PRC(n *node, frp string) {
	p.t.Helper()
	held := p.holdOpen()
	pid := n.frp(frp)
	n.kill()
	if err := p.webAnswers(p.ports["web"]); err != nil {
		p.t.Errorf("while p2prc is dead: %v", err)
	}
	started := time.Now()
	n.run(nil)
	p.awaitBack(n.name+"'s p2prc killed and started", started)
	if now := n.frp(frp); now != pid {
		p.t.Errorf("%s is process %d, want %d: adopted", frp, now, pid)
	}
	held.stillHolds()
}

// TestRestart is F30, an upgrade: each p2prc leaves and is started again, and
// no connection drops.
func TestRestart(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	held := p.holdOpen()
	for _, end := range []struct {
		n   *node
		frp string
	}{{p.proxy, "frps"}, {p.server, "frpc"}} {
		pid := end.n.frp(end.frp)
		end.n.leave()
		if err := p.webAnswers(p.ports["web"]); err != nil {
			t.Errorf("after %s left: %v", end.n.name, err)
		}
		for _, name := range p.maps.names {
			if r, ok := end.n.row("home", name); !ok || r.State != "up" || r.BindPort != p.ports[name] {
				t.Errorf("after %s left: %s has %v, want it up at port %d", end.n.name, name, r, p.ports[name])
			}
		}
		started := time.Now()
		end.n.run(nil)
		p.awaitBack(end.n.name+" left and was started", started)
		if now := end.n.frp(end.frp); now != pid {
			t.Errorf("%s is process %d, want %d: adopted", end.frp, now, pid)
		}
	}
	held.stillHolds()
}

// TestProxyRestart: the reverse proxy stops in order, is away for a while, and
// is started again. The server waits for it and says why.
func TestProxyRestart(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.proxy.stop()
	example, took := p.maps.awaitNotUp(downLimit, p.server)
	t.Logf("at the server after %s: %v", seconds(took), example)
	started := time.Now()
	p.proxy.run(nil)
	p.awaitBack("proxy stopped and started", started)
}

// TestBoot is F32: both hosts lost power, and are back one after the other. A
// row of before is not up until it is proved again.
func TestBoot(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	powerCut := func() {
		for n, frp := range map[*node]string{p.proxy: "frps", p.server: "frpc"} {
			n.kill()
			n.killFRP(frp)
		}
	}
	for _, order := range [][2]*node{{p.proxy, p.server}, {p.server, p.proxy}} {
		first, last := order[0], order[1]
		p.sub(first.name+" first", func(t *testing.T) {
			powerCut()
			first.run(nil)
			holds(t, first.name+" alone", 3*time.Second, func() error {
				for _, r := range first.rows() {
					if r.State == "up" || r.Reason == "" {
						return fmt.Errorf("%v", r)
					}
				}
				return nil
			})
			t.Logf("at %s alone: %v", first.name, first.rows())
			started := time.Now()
			last.run(nil)
			p.awaitBack("both are back, "+first.name+" first", started)
		})
	}
}

// held is a connection through the tunnel that is in use all the time.
type held struct{ *process }

// holdOpen opens one, from outside.
func (p pair) holdOpen() held {
	p.t.Helper()
	h := held{p.ext.startHelper("hold", public(p.ports["pulse"]))}
	await(p.t, "a connection is in use", readyLimit, func() error {
		if h.stdout() == "" {
			return missing{".", h.stderr()}
		}
		return nil
	})
	return h
}

// stillHolds checks that the connection never broke and still carries data.
func (h held) stillHolds() {
	t := h.host.lab.t
	t.Helper()
	before := len(h.stdout())
	await(t, "the connection carries data", readyLimit, func() error {
		if h.ended() {
			t.Fatalf("the connection broke: %s", h.stderr())
		}
		if len(h.stdout()) <= before {
			return missing{".", h.stderr()}
		}
		return nil
	})
	h.kill()
}
