package supervisor

import (
	"context"
	"sync"
	"time"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

// dialPorts is step (a): somebody outside dials the public address, while
// p2prc holds the port there.
func (a *attachment) dialPorts(ctx context.Context) {
	now := time.Now()
	var asked []*mapping
	var targets []proof.Target
	periodic := !a.due.dial.IsZero() && !now.Before(a.due.dial)
	for _, m := range a.maps {
		if m.Type.ByName() && !m.node {
			continue // its port is the canary's
		}
		again := periodic && m.port.ok && m.Type.Transport() == tables.TCP
		if !m.holds(now) || (m.port.ok && !again) || (m.port.reason != "" && now.Before(a.due.witness)) {
			continue
		}
		if m.Type == tables.UDP && !m.lease.Guarded {
			m.port = no(NotReachable, "frps holds the port already and nobody outside has proved it in the last 24 h")
			continue
		}
		t := proof.Target{Type: m.Type.Transport(), Addr: a.public(m)}
		if m.lease.Guarded && !m.port.ok {
			t.LeaseID, t.Key = m.lease.ID, m.lease.GuardKey
		}
		asked, targets = append(asked, m), append(targets, t)
	}
	if periodic || a.due.dial.IsZero() {
		a.due.dial = now.Add(spread(dialEvery))
	}
	defer a.shareNamePorts()
	if len(targets) == 0 {
		return
	}
	a.due.witness = now.Add(dialAgain)
	var failed []*mapping
	byOthers := make(map[*mapping]proof.Target)
	for i, err := range proof.WitnessAll(ctx, targets, dialParallel) {
		if err != nil {
			asked[i].port = no(NotReachable, "no witness could dial it: "+err.Error())
			if len(asked[i].lease.Signed) == 0 {
				continue // a reverse proxy from before claims of domains signed nothing to show
			}
			failed, byOthers[asked[i]] = append(failed, asked[i]), targets[i]
		} else {
			asked[i].port = yes(a.s.o.Name, time.Now())
		}
	}
	if len(failed) > 0 && ctx.Err() == nil {
		a.dialByOthers(ctx, failed, byOthers)
	}
}

// shareNamePorts: mappings that are told apart by domain have one port, which is
// dialled once for all of them.
func (a *attachment) shareNamePorts() {
	for _, m := range a.maps {
		if m.Type.ByName() && !m.node {
			m.port = a.tunnels[m.Type].canary.port
		}
	}
}

// probeTunnels is step (b), for all protocols at once.
func (a *attachment) probeTunnels(ctx context.Context) {
	type probe struct {
		*tunnel
		by  *witness
		err error
	}
	var probes []*probe
	var wg sync.WaitGroup
	for _, t := range a.tunnels {
		now := time.Now()
		switch {
		case !t.canary.holds(now) || !t.canary.port.ok || !t.canary.frp.ok:
			_, why := t.canary.judge(now, yes("", now), a.linkReason())
			t.verdict, t.due, t.misses = no(why.kind, why.reason), time.Time{}, 0
			continue
		case now.Before(t.due):
			continue
		}
		p := &probe{tunnel: t}
		probes = append(probes, p)
		wg.Go(func() {
			wait, cancel := context.WithTimeout(ctx, canaryWait)
			defer cancel()
			p.by, p.err = a.probe(wait, t)
		})
	}
	wg.Wait()
	for _, t := range probes {
		t.outside = t.by
		if t.err == nil {
			t.verdict, t.misses, t.due = yes("", time.Now()), 0, time.Now().Add(spread(canaryEvery))
			a.frpc.healthy()
			continue
		}
		t.misses++
		t.due = time.Now().Add(canaryAgain)
		if t.misses >= canaryMisses || !t.verdict.ok {
			t.verdict = no(NotReachable, "the tunnel carries no data: "+t.err.Error())
		}
		if _, down := a.link.state(); t.misses >= canaryHang && down == nil && !t.canary.Type.ByName() { // frpc is not to blame where ports work
			t.misses = 0
			if err := a.frpc.restart(ctx, "it says running, and nothing comes through"); err != nil {
				a.log.Warn("stopping frpc", "err", err)
			}
			a.poke()
		}
	}
}

// lookAtServices is step (d).
func (a *attachment) lookAtServices(ctx context.Context) {
	now := time.Now()
	if now.Before(a.due.local) {
		return
	}
	a.due.local = now.Add(spread(localEvery))
	targets := make([]proof.Service, len(a.maps))
	for i, m := range a.maps {
		targets[i] = proof.Service{Type: m.Type.Transport(), Addr: m.Local}
	}
	for i, err := range a.s.lookAt(ctx, targets) {
		if err != nil {
			a.maps[i].service = no(NothingListens, err.Error())
		} else {
			a.maps[i].service = yes("", now)
		}
	}
}
