package sync_test

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
	p2psync "p2prc/tables/sync"
)

// secure makes TLS of a link, as the public port speaks it.
func secure(t *testing.T, a, b *node, near, far net.Conn) (atA, atB *tls.Conn) {
	t.Helper()
	alpn := []string{peerapi.ALPNSync}
	atA, atB = tls.Client(near, identity.ClientTLS(a.key, b.id, alpn)), tls.Server(far, identity.ServerTLS(b.key, alpn))
	shaken := make(chan error, 1)
	go func() { shaken <- atB.Handshake() }()
	if err := atA.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return atA, atB
}

// While nothing changes: a server that is attached to two of 50 proxies, TLS
// included, and one that knows no proxy but its own.
func TestAttach_idle(t *testing.T) {
	for _, proxies := range []int{1, 50} {
		synctest.Test(t, func(t *testing.T) {
			s, a, b := newNode(t, nil), newNode(t, nil), newNode(t, nil)
			var all []*node
			for i := range proxies {
				p := newNode(t, nil)
				p.say(t, p.proxy(i))
				all = append(all, p)
			}
			ctx, stop := context.WithCancel(t.Context())
			var links []*link
			for _, p := range []*node{a, b} {
				near, far := newLink(simLatency)
				links = append(links, near, far)
				atS, atP := secure(t, s, p, near, far)
				attach(t, s, p, atS, atP)
			}
			for _, p := range all {
				go func() {
					delay := rand.N(record.BeatEvery)
					for pause(ctx, delay) {
						delay = record.BeatEvery
						if err := p.own.Beat(time.Now(), record.Heartbeat{Free: 9000, Load: 40}); err != nil {
							t.Error(err)
						}
						for _, to := range []*node{a, b} {
							to.set.Merge(time.Now(), "", raws(p.set)...)
						}
					}
				}()
			}
			bytes := func() (n int) {
				for _, l := range links {
					n += l.sent()
				}
				return n
			}
			time.Sleep(time.Minute) // virtual
			before := bytes()
			time.Sleep(5 * time.Minute)
			perSecond := (bytes() - before) / 300
			t.Logf("%d proxies: %d B/s both ways on both connections", proxies, perSecond)
			if most := 60 + 30*proxies; perSecond > most {
				t.Errorf("more than %d B/s", most)
			}
			if v := s.set.View(time.Now()); len(v.Proxies) != proxies || !v.Proxies[0].Alive() {
				t.Errorf("%d proxies", len(v.Proxies))
			}
			stop()
			synctest.Wait()
		})
	}
}

// A node hears by how much another's clock is ahead: with a wrong one, nothing
// that it says is taken.
func TestAttach_clocks(t *testing.T) {
	ahead := make(chan time.Duration, 1)
	a := newNode(t, func(o *p2psync.Options) { o.Ahead = func(_ identity.ID, d time.Duration) { ahead <- d } })
	b := newNode(t, func(o *p2psync.Options) { o.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	dialled, accepted := pair(t)
	attach(t, a, b, dialled, accepted)
	select {
	case d := <-ahead:
		if d < 59*time.Minute || d > 61*time.Minute {
			t.Errorf("ahead by %s", d)
		}
	case <-time.After(wait):
		t.Error("not told")
	}
}
