package supervisor

import (
	"context"
	"errors"
	"time"

	"p2prc/admin"
)

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
	case p.Running() && !m.Type.ByName() && p.RemotePort == m.lease.Port, p.Running() && m.Type.ByName() && p.Domain == m.Domain:
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
