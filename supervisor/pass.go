package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/child"
	"p2prc/supervisor/failpoint"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/peerapi"
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

	reconnectAfter = 4 * time.Second // without a session, while the reverse proxy answers
	settleFor      = 3 * time.Second // after the first lease: what is not up by then is told as it is
	dialParallel   = 256
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

// listenUp makes the link stay up and hear what the proxy tells.
func (a *attachment) listenUp() {
	if !a.listening {
		a.listening = true
		a.s.discover()
		a.linked = a.s.tree.Add(service{"link to " + a.proxy(), a.link.Serve})
	}
}

// passes runs the steps from request to row over and over: each pass does what
// is due and finds the rest done. It returns nil for a wanted stop.
func (a *attachment) passes(ctx context.Context) error {
	if _, down := a.link.state(); down != nil {
		a.listenUp()
	}
	beat, ended := a.s.o.loop(a.proxy())
	defer ended()
	for {
		beat()
		if err := a.pass(ctx); err != nil {
			return err
		}
		// Only now: the connection for events takes as long as all of a pass, and
		// what happens before it is there the next pass looks for.
		a.listenUp()
		timer := time.NewTimer(a.idle(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return wanted(ctx)
		case <-a.frpc.done():
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long there is nothing to do.
func (a *attachment) idle(now time.Time) time.Duration {
	next := a.due.report
	if _, down := a.link.state(); a.renewing && down == nil {
		next = now
	}
	for _, t := range []time.Time{a.due.reserve, a.due.witness, a.due.force, a.due.local, a.due.dial, a.due.settled, a.frpc.startAt} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	for _, t := range a.tunnels {
		if !t.due.IsZero() && t.due.Before(next) {
			next = t.due
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

func (a *attachment) pass(ctx context.Context) error {
	now := time.Now()
	if a.jump.jumped(now) {
		a.log.Warn("the clock jumped: every row waits for the renewal of its lease")
		a.suspect, a.due.report = true, now
	}
	frpsUp, changed := a.link.take()
	if changed {
		a.probeNow(now)
	}
	if f := a.shutOut(); f != nil {
		return f
	}
	if f := a.frpc.reap(now); f != nil {
		return f
	}
	if err := a.takeMaps(ctx); err != nil {
		return err
	}
	if err := a.getLeases(ctx); err != nil {
		return err
	}
	a.dialPorts(ctx)
	failpoint.Hit("server-port-dialled")
	did := a.configure(ctx)
	if did == replaced { // what was proved was proved through another frpc
		a.fresh = true
		a.probeNow(time.Now())
	}
	a.askFRPC(ctx, did, frpsUp)
	failpoint.Hit("server-frpc-running")
	a.probeTunnels(ctx)
	failpoint.Hit("server-tunnel-probed")
	a.lookAtServices(ctx)
	if a.told && ctx.Err() == nil {
		// What is wrong shows now: the proxy may be slow to answer, or gone.
		if err := a.publish(ctx, true); err != nil {
			return err
		}
	}
	a.tellProxy(ctx)
	failpoint.Hit("server-reported")
	if ctx.Err() != nil {
		return nil // what a cancelled step saw is not worth a row
	}
	return a.publish(ctx, false)
}

// probeNow makes the next pass look at everything that frps has a part in.
func (a *attachment) probeNow(now time.Time) {
	a.due.status, a.due.report = now, now
	for _, t := range a.tunnels {
		t.due = now
	}
}

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
			if asked[i].Type.ByName() {
				continue // there is no lease to show to others
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

// configured is what decides over frpc.toml, as frpc was last given it.
type configured struct {
	proc *child.Process
	frp  *peerapi.FRP
	maps map[*mapping]opened
}

// opened is what frpc was told of one mapping.
type opened struct {
	lease string
	port  uint16
	local netip.AddrPort
	try   int
}

// open reports whether frpc is to have the mapping, and what it is to be told.
func (m *mapping) open() (o opened, ok bool) {
	if m.lease == nil || !m.port.ok {
		return opened{}, false
	}
	return opened{m.lease.ID, m.lease.Port, m.Local, m.try}, true
}

// upToDate reports whether the running frpc has what it is to have: a pass must
// cost little while nothing changes, with thousands of mappings too.
func (a *attachment) upToDate() bool {
	w := a.written
	if w == nil || w.proc == nil || w.proc != a.frpc.proc || w.frp != a.frp {
		return false
	}
	n := 0
	for _, m := range a.maps {
		o, ok := m.open()
		if !ok {
			continue
		}
		if n++; w.maps[m] != o {
			return false
		}
	}
	return n == len(w.maps)
}

// configure makes frpc run with every mapping that has a lease and a port that
// can be reached.
func (a *attachment) configure(ctx context.Context) configuring {
	if a.frp == nil || a.upToDate() {
		return unchanged
	}
	conf := frpconf.Client{
		ServerAddr:    a.up.Host,
		ServerPort:    a.frp.Port,
		Token:         frpconf.Secret(a.frp.Token),
		TrustedCAFile: a.trusted(*a.frp),
		ServerName:    a.frp.ServerName,
		Metadatas:     map[string]frpconf.Secret{metaNode: frpconf.Secret(a.s.key.ID()), metaCredential: frpconf.Secret(a.frp.Credential)},
		Keepalive:     time.Duration(a.frp.Keepalive) * time.Second,
	}
	written := &configured{frp: a.frp, maps: make(map[*mapping]opened, len(a.maps))}
	for _, m := range a.maps {
		o, ok := m.open()
		if !ok {
			continue
		}
		written.maps[m] = o
		p := frpconf.Proxy{Name: a.proxyName(m), Type: m.Type.FRP(), Local: m.Local, Domain: m.Domain, Metadatas: retryMeta(m)}
		if !m.Type.ByName() {
			p.RemotePort = m.lease.Port
		}
		conf.Proxies = append(conf.Proxies, p)
	}
	if len(conf.Proxies) == 0 && a.frpc.proc == nil {
		return unchanged
	}
	changed, err := a.frpc.ensure(ctx, time.Now(), conf)
	if err != nil {
		a.written = nil
		a.frpc.lastErr, a.unconfigured = err.Error(), err.Error()
		a.log.Warn("running frpc", "err", err)
		return changed
	}
	a.unconfigured = ""
	written.proc = a.frpc.proc
	a.written = written
	return changed
}

// askFRPC is the first half of step 5: frpc says running, on the leased port.
// After a start or reload it waits for a verdict on every mapping.
func (a *attachment) askFRPC(ctx context.Context, did configuring, frpsUp bool) {
	now := time.Now()
	if a.frpc.proc == nil {
		reason := "frpc does not run"
		if a.frpc.lastErr != "" {
			reason += ": " + a.frpc.lastErr
		}
		for _, m := range a.maps {
			m.frp = no(ChildDying, reason)
		}
		return
	}
	names := make(map[string]*mapping)
	var list []string // of those on which its word is awaited
	for _, m := range a.maps {
		if m.lease != nil && m.port.ok {
			name := a.proxyName(m)
			names[name] = m
			if !m.frp.ok || did == replaced {
				list = append(list, name)
			}
		}
	}
	if len(list) == 0 && !frpsUp && now.Before(a.due.status) {
		return
	}
	a.due.status = now.Add(spread(reportEvery))
	wait, cancel := context.WithTimeout(ctx, runningWait+time.Duration(len(list))*runningEach)
	defer cancel()
	defer onAbort(a.frpc.done(), cancel)()
	var got map[string]admin.Proxy
	var err error
	if did != unchanged {
		got, err = a.frpc.api.WaitRunning(wait, list)
	} else {
		got, err = a.frpc.api.Status(wait)
	}
	if got != nil {
		err = nil // frpc answered, if not yet on every mapping
	}
	if len(names) > 0 && a.frpc.lost(now, got) && ctx.Err() == nil {
		a.reconnect(ctx, now, frpsUp)
	}
	for name, m := range names {
		a.heardOfFRPC(m, got[name], err)
	}
	a.retryStartErrors(now)
}

// reconnect restarts an frpc that has no session, at once when frps is back,
// else when it had its time: by itself it tries again after up to 20 s (0.70.1),
// and one that was being started when frps came back has not heard of that.
func (a *attachment) reconnect(ctx context.Context, now time.Time, frpsUp bool) {
	if _, down := a.link.state(); down != nil || !frpsUp && now.Sub(a.frpc.lostAt) < reconnectAfter {
		return
	}
	if err := a.frpc.restart(ctx, "it has no session, and the reverse proxy answers"); err != nil {
		a.log.Warn("stopping frpc", "err", err)
	}
	a.poke()
}

// ghostLife is how long frps may take to notice that an earlier frpc of this node
// is dead: 14 s after the host vanished (0.61-0.70.1), with the keepalive that
// p2prc sets.
const ghostLife = 20 * time.Second

// ghost reports whether a port that frps has given away may be held by an
// earlier session of this node: the gate let nobody else have it.
func (m *mapping) ghost(now time.Time) bool {
	if m.ghostSince.IsZero() || now.Sub(m.ghostSince) > 2*ghostLife {
		m.ghostSince = now
	}
	return now.Sub(m.ghostSince) < ghostLife
}

// heardOfFRPC takes frpc's word on one mapping.
func (a *attachment) heardOfFRPC(m *mapping, p admin.Proxy, err error) {
	m.retry = false
	switch {
	case err != nil:
		m.frp = no(ChildDying, noAnswer("frpc", err))
	case p.Running() && p.RemotePort == m.lease.Port:
		m.frp = yes("frpc", time.Now())
	case p.Err == "" && a.unconfigured != "":
		m.frp = no(StateUnusable, "frpc could not be told of it: "+a.unconfigured)
	case p.Err == "":
		m.frp = no(NotReachable, "frpc is not connected to frps")
	case errors.Is(p.Refusal(), admin.ErrDomainUsed):
		m.frp, m.retry = no(NotReachable, "frps still has the domain from an earlier session"), true
	case errors.Is(p.Refusal(), admin.ErrPortUsed) && m.ghost(time.Now()):
		m.frp, m.retry = no(NotReachable, "frps still has the port from an earlier session"), true
	case errors.Is(p.Refusal(), admin.ErrPortTaken), errors.Is(p.Refusal(), admin.ErrPortUsed):
		// Stolen between the gate's yes and frps's listen.
		a.log.Warn("the port was taken, asking for another", "port", m.lease.Port, "row", m.Name, "err", p.Err)
		m.another = true
		m.dropLease()
		a.due.reserve = time.Time{}
		a.poke()
	default:
		m.frp, m.retry = no(NotReachable, "frps: "+p.Err), true
	}
}

// retryStartErrors makes frpc try refused mappings again: by itself it would
// wait 30 s, a changed metadata and a reload take milliseconds (0.61-0.70.1).
func (a *attachment) retryStartErrors(now time.Time) {
	if now.Before(a.due.force) {
		return
	}
	for _, m := range a.maps {
		if m.lease != nil && m.port.ok && m.retry && a.frpc.proc != nil {
			m.try++
			a.due.force = now.Add(spread(retryEvery))
		}
	}
}

// probeTunnels is step (b), for both protocols at once.
func (a *attachment) probeTunnels(ctx context.Context) {
	type probe struct {
		*tunnel
		by  *witness
		err error
	}
	var probes []*probe
	var wg sync.WaitGroup
	for proto, t := range a.tunnels {
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
			p.by, p.err = a.probe(wait, proto, t)
		})
	}
	wg.Wait()
	for _, t := range probes {
		byName := t.canary.Type.ByName()
		if !byName {
			a.outside = t.by
		}
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
		if _, down := a.link.state(); t.misses >= canaryHang && down == nil && !byName { // frpc is not to blame where ports work
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
