package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/proof"
	"p2prc/tables"
)

// How often each step is looked at again, and how long one look may take.
// Repeated looks are spread by a tenth, so that a thousand nodes do not knock
// in step.
const (
	canaryEvery  = 5 * time.Second
	canaryAgain  = time.Second // after a miss
	canaryWait   = 2 * time.Second
	canaryMisses = 2 // in a row, and the rows go down
	canaryHang   = 4 // in a row, and an frpc that says running is replaced
	localEvery   = 2 * time.Second
	reportEvery  = 15 * time.Second
	dialEvery    = 10 * time.Minute // each public port, by a bare connect
	dialAgain    = 15 * time.Second // a port that nobody could dial
	retryEvery   = 2 * time.Second  // a start error, a refusal
	settleFor    = 3 * time.Second  // after the first lease: what is not up by then is told as it is
	dialParallel = 256
)

// pace is when each step is due again.
type pace struct {
	reserve, witness, status, force, local, report, dial, settled time.Time
}

// tunnel is step (b) of the proof for one protocol: the node's own mapping,
// dialled at its public address and answered by this very process.
type tunnel struct {
	canary  *mapping
	verdict verdict
	misses  int
	due     time.Time
}

func spread(d time.Duration) time.Duration {
	return d - d/20 + rand.N(d/10)
}

// passes runs the steps from request to row over and over: each pass does what
// is due and finds the rest done. It returns nil for a wanted stop.
func (s *server) passes(ctx context.Context) error {
	for {
		if err := s.pass(ctx); err != nil {
			return err
		}
		timer := time.NewTimer(s.idle(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return wanted(ctx)
		case <-s.frpc.done():
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long there is nothing to do.
func (s *server) idle(now time.Time) time.Duration {
	next := s.due.report
	for _, t := range []time.Time{s.due.reserve, s.due.witness, s.due.force, s.due.local, s.due.dial, s.due.settled, s.frpc.startAt} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	for _, t := range s.tunnels {
		if !t.due.IsZero() && t.due.Before(next) {
			next = t.due
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

func (s *server) pass(ctx context.Context) error {
	now := time.Now()
	if s.jump.jumped(now) {
		s.log.Warn("the clock jumped: every row waits for the renewal of its lease")
		s.suspect, s.due.report = true, now
	}
	frpsUp, changed := s.link.take()
	if changed {
		s.probeNow(now)
	}
	if f := s.shutOut(); f != nil {
		return f
	}
	if f := s.frpc.reap(now); f != nil {
		return f
	}
	if err := s.getLeases(ctx); err != nil {
		return err
	}
	s.dialPorts(ctx)
	started := s.configure(ctx)
	if started { // what was proved was proved through another frpc
		s.fresh = true
		s.probeNow(time.Now())
	}
	s.askFRPC(ctx, started, frpsUp)
	s.probeTunnels(ctx)
	s.lookAtServices(ctx)
	if s.told && ctx.Err() == nil {
		// What is wrong shows now: the proxy may be slow to answer, or gone.
		if err := s.publish(ctx); err != nil {
			return err
		}
	}
	s.tellProxy(ctx)
	if ctx.Err() != nil {
		return nil // what a cancelled step saw is not worth a row
	}
	return s.publish(ctx)
}

// probeNow makes the next pass look at everything that frps has a part in.
func (s *server) probeNow(now time.Time) {
	s.due.status, s.due.report = now, now
	for _, t := range s.tunnels {
		t.due = now
	}
}

// dialPorts is step (a): somebody outside dials the public address, while
// p2prc holds the port there.
func (s *server) dialPorts(ctx context.Context) {
	now := time.Now()
	var asked []*mapping
	var targets []proof.Target
	periodic := !s.due.dial.IsZero() && !now.Before(s.due.dial)
	for _, m := range s.maps {
		again := periodic && m.port.ok && m.Type == tables.TCP
		if !m.holds(now) || (m.port.ok && !again) || (m.port.reason != "" && now.Before(s.due.witness)) {
			continue
		}
		if m.Type == tables.UDP && !m.lease.Guarded {
			m.port = no(NotReachable, "frps holds the port already and nobody outside has proved it in the last 24 h")
			continue
		}
		t := proof.Target{Type: m.Type, Addr: s.public(m)}
		if m.lease.Guarded && !m.port.ok {
			t.LeaseID, t.Key = m.lease.ID, m.lease.GuardKey
		}
		asked, targets = append(asked, m), append(targets, t)
	}
	if periodic || s.due.dial.IsZero() {
		s.due.dial = now.Add(spread(dialEvery))
	}
	if len(targets) == 0 {
		return
	}
	s.due.witness = now.Add(dialAgain)
	for i, err := range proof.WitnessAll(ctx, targets, dialParallel) {
		if err != nil {
			asked[i].port = no(NotReachable, "no witness could dial it: "+err.Error())
		} else {
			asked[i].port = yes(s.o.Name, time.Now())
		}
	}
}

// configure makes frpc run with every mapping that has a lease and a port that
// can be reached. It reports whether frpc was started or reloaded.
func (s *server) configure(ctx context.Context) bool {
	if s.frp == nil {
		return false
	}
	conf := frpconf.Client{
		ServerAddr:    s.o.Host,
		ServerPort:    s.frp.Port,
		Token:         frpconf.Secret(s.frp.Token),
		TrustedCAFile: s.trusted(*s.frp),
		ServerName:    s.frp.ServerName,
		Metadatas:     map[string]frpconf.Secret{metaNode: frpconf.Secret(s.key.ID()), metaCredential: frpconf.Secret(s.frp.Credential)},
		Keepalive:     time.Duration(s.frp.Keepalive) * time.Second,
	}
	for _, m := range s.maps {
		if m.lease == nil || !m.port.ok {
			continue
		}
		conf.Proxies = append(conf.Proxies, frpconf.Proxy{
			Name:       s.proxyName(m),
			Type:       m.Type.FRP(),
			Local:      m.Local,
			RemotePort: m.lease.Port,
			Metadatas:  retryMeta(m),
		})
	}
	if len(conf.Proxies) == 0 && s.frpc.proc == nil {
		return false
	}
	changed, err := s.frpc.ensure(ctx, time.Now(), conf)
	if err != nil {
		s.frpc.lastErr = err.Error()
		s.log.Warn("running frpc", "err", err)
	}
	return changed
}

// askFRPC is the first half of step 5: frpc says running, on the leased port.
// After a start or reload it waits for a verdict on every mapping.
func (s *server) askFRPC(ctx context.Context, started, frpsUp bool) {
	now := time.Now()
	if s.frpc.proc == nil {
		reason := "frpc does not run"
		if s.frpc.lastErr != "" {
			reason += ": " + s.frpc.lastErr
		}
		for _, m := range s.maps {
			m.frp = no(ChildDying, reason)
		}
		return
	}
	names := make(map[string]*mapping)
	settled := true
	for _, m := range s.maps {
		if m.lease != nil && m.port.ok {
			names[s.proxyName(m)] = m
			settled = settled && m.frp.ok
		}
	}
	if settled && !started && !frpsUp && now.Before(s.due.status) {
		return
	}
	s.due.status = now.Add(spread(reportEvery))
	wait, cancel := context.WithTimeout(ctx, runningWait)
	defer cancel()
	defer onAbort(s.frpc.done(), cancel)()
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	var got map[string]admin.Proxy
	var err error
	if started {
		got, err = s.frpc.api.WaitRunning(wait, list)
	} else {
		got, err = s.frpc.api.Status(wait)
	}
	if err == nil && len(got) == 0 && frpsUp {
		err = s.frpc.restart(ctx, "frps is back and frpc has not noticed yet")
		s.poke()
	}
	for name, m := range names {
		s.heardOfFRPC(m, got[name], err)
	}
	s.retryStartErrors(now)
}

// heardOfFRPC takes frpc's word on one mapping.
func (s *server) heardOfFRPC(m *mapping, p admin.Proxy, err error) {
	switch {
	case err != nil:
		m.frp = no(ChildDying, "frpc does not answer: "+err.Error())
	case p.Running() && p.RemotePort == m.lease.Port:
		m.frp = yes("frpc", time.Now())
	case p.Err == "":
		m.frp = no(NotReachable, "frpc is not connected to frps")
	case errors.Is(p.Refusal(), admin.ErrPortTaken):
		// Stolen between the gate's yes and frps's listen.
		s.log.Warn("the port was taken, asking for another", "port", m.lease.Port, "row", m.Name)
		m.another = true
		m.dropLease()
		s.due.reserve = time.Time{}
		s.poke()
	default:
		m.frp = no(NotReachable, "frps: "+p.Err)
	}
}

// retryStartErrors makes frpc try refused mappings again: by itself it would
// wait 30 s, a changed metadata and a reload take milliseconds (0.61-0.70.1).
func (s *server) retryStartErrors(now time.Time) {
	if now.Before(s.due.force) {
		return
	}
	for _, m := range s.maps {
		if m.lease != nil && m.port.ok && m.frp.reason != "" && s.frpc.proc != nil {
			m.try++
			s.due.force = now.Add(spread(retryEvery))
		}
	}
}

// probeTunnels is step (b), for both protocols at once.
func (s *server) probeTunnels(ctx context.Context) {
	type probe struct {
		*tunnel
		err error
	}
	var probes []*probe
	var wg sync.WaitGroup
	for proto, t := range s.tunnels {
		now := time.Now()
		switch {
		case !t.canary.holds(now) || !t.canary.port.ok || !t.canary.frp.ok:
			_, why := t.canary.judge(now, yes("", now), s.linkReason())
			t.verdict, t.due, t.misses = no(why.kind, why.reason), time.Time{}, 0
			continue
		case now.Before(t.due):
			continue
		}
		p := &probe{tunnel: t}
		probes = append(probes, p)
		at := s.public(t.canary)
		wg.Go(func() {
			wait, cancel := context.WithTimeout(ctx, canaryWait)
			defer cancel()
			_, p.err = s.canary.Probe(wait, proto, at)
		})
	}
	wg.Wait()
	for _, t := range probes {
		if t.err == nil {
			t.verdict, t.misses, t.due = yes("", time.Now()), 0, time.Now().Add(spread(canaryEvery))
			s.frpc.healthy()
			continue
		}
		t.misses++
		t.due = time.Now().Add(canaryAgain)
		if t.misses >= canaryMisses || !t.verdict.ok {
			t.verdict = no(NotReachable, "the tunnel carries no data: "+t.err.Error())
		}
		if _, down := s.link.state(); t.misses >= canaryHang && down == nil {
			t.misses = 0
			if err := s.frpc.restart(ctx, "it says running, and nothing comes through"); err != nil {
				s.log.Warn("stopping frpc", "err", err)
			}
			s.poke()
		}
	}
}

// lookAtServices is step (d).
func (s *server) lookAtServices(ctx context.Context) {
	now := time.Now()
	if now.Before(s.due.local) {
		return
	}
	s.due.local = now.Add(spread(localEvery))
	targets := make([]proof.Service, len(s.maps))
	for i, m := range s.maps {
		targets[i] = proof.Service{Type: m.Type, Addr: m.Local}
	}
	for i, err := range s.services.Check(ctx, targets) {
		if err != nil {
			s.maps[i].service = no(NothingListens, err.Error())
		} else {
			s.maps[i].service = yes("", now)
		}
	}
}
