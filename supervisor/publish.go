package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"p2prc/supervisor/failpoint"
	"p2prc/tables"
	"p2prc/tables/peerapi"
)

// reportWait bounds one report: the canary must not wait for a proxy that is gone.
const reportWait = 3 * time.Second

// linkReason says why the reverse proxy cannot be asked, empty when it can.
func (a *attachment) linkReason() string {
	_, err := a.link.state()
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errNotYet):
		return fmt.Sprintf("not connected to reverse proxy %s yet", a.proxy())
	case errors.Is(err, errKnocking):
		return fmt.Sprintf("reverse proxy %s does not know this node yet; there, run: p2prc --allow %s", a.proxy(), a.s.key.ID())
	}
	if refused, ok := errors.AsType[*peerapi.Refusal](err); ok {
		return fmt.Sprintf("reverse proxy %s refuses this node: %v", a.proxy(), refused)
	}
	return noAnswer("reverse proxy "+a.proxy(), err)
}

// noAnswer says that somebody does not answer. That a deadline was exceeded is
// Go's way to say it.
func noAnswer(who string, err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return who + " does not answer in time"
	}
	return who + " does not answer: " + err.Error()
}

// public is the address that a stranger dials for this mapping.
func (a *attachment) public(m *mapping) netip.AddrPort {
	hello, _ := a.link.state()
	return netip.AddrPortFrom(hello.Proxy.Address, m.lease.Port)
}

// judge is what a mapping's row should say now.
func (a *attachment) judge(now time.Time, m *mapping, link string) (tables.State, verdict) {
	state, why := m.judge(now, a.tunnels[m.Type].verdict, link)
	if a.suspect && state == tables.Up {
		return tables.Waiting, no(ProxyUnreachable, "the clock jumped, its lease is being renewed")
	}
	return state, why
}

// tellProxy renews the leases and tells the proxy what was proved; its answer
// is step (c). What did not change is told only every 15 s, and of that no more
// than one request in a pass: a new mapping does not wait for ten thousand old.
func (a *attachment) tellProxy(ctx context.Context) {
	if _, down := a.link.state(); down != nil {
		return
	}
	now := time.Now()
	if !now.Before(a.due.report) {
		a.due.report = now.Add(spread(reportEvery))
		a.renewing = true
		for _, m := range a.maps {
			m.full = true
		}
	}
	var asked, later []*mapping
	var rows, laterRows []peerapi.Row
	rest := false
	for _, m := range a.maps {
		if m.lease == nil {
			continue
		}
		online := m.online
		m.online = yes("", now) // the proxy's own part of the proof
		state, why := m.judge(now, a.tunnels[m.Type].verdict, "")
		m.online = online
		row := peerapi.Row{LeaseID: m.lease.ID, State: state, Reason: why.reason, Proved: why.by, Local: m.Local, Node: m.node, Standby: m.row.Standby}
		switch {
		case row != m.reported:
			asked, rows = append(asked, m), append(rows, row)
		case m.full && len(later) < maxWants:
			later, laterRows = append(later, m), append(laterRows, row)
		case m.full:
			rest = true
		}
	}
	asked, rows = append(asked, later...), append(rows, laterRows...)
	for len(rows) > 0 {
		n := min(len(rows), maxWants)
		if err := a.report(ctx, asked[:n], rows[:n]); err != nil {
			if ctx.Err() != nil {
				return // the stop still needs the link
			}
			a.link.failed(err)
			a.renewing = false // what is left goes into later reports
			a.log.Debug("reporting to the reverse proxy", "err", err)
			return
		}
		asked, rows = asked[n:], rows[n:]
	}
	if a.renewing && !rest {
		a.renewing, a.suspect = false, false
	}
}

func (a *attachment) report(ctx context.Context, asked []*mapping, rows []peerapi.Row) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	sent := time.Now()
	reply, err := a.link.client.Report(ctx, peerapi.ReportRequest{Rows: rows})
	if err != nil {
		return err
	}
	if len(reply.Rows) != len(rows) {
		return errors.New("reporting to the reverse proxy: the answer has other rows than the question")
	}
	for i, m := range asked {
		r := reply.Rows[i]
		m.reported, m.full = rows[i], false
		m.traffic = Traffic{In: r.In, Out: r.Out, Connections: r.Conns}
		if r.TTL == 0 {
			a.log.Info("a lease is gone", "row", m.Name, "err", r.Reason)
			m.dropLease()
			a.poke()
			continue
		}
		m.lease.until = deadline{sent: sent, ttl: r.TTL.Duration()}
		if r.Online {
			m.online = yes("", sent)
			continue
		}
		m.online = no(NotReachable, r.Reason)
		m.reported = peerapi.Row{} // ask again soon
	}
	return nil
}

// publish brings the tables in line with what is known: step 7 at the server.
// A row that is new or leads elsewhere is committed before anyone is told; a
// state that was measured is noted. Before the proxy was asked, early, only
// what does not work any more is told.
func (a *attachment) publish(ctx context.Context, early bool) error {
	if err := a.remembered(); err != nil {
		return err
	}
	now := time.Now()
	link := a.linkReason()
	hello, _ := a.link.state()
	var commit, note tables.Batch
	all, changed := true, false
	var worst verdict
	standby := a.settle(a.works(now, link), now)
	kinds := make([]Kind, len(a.maps))
	for i, m := range a.maps {
		state, why := a.judge(now, m, link)
		kinds[i] = why.kind
		if state != tables.Up {
			all = false
			if worst.reason == "" {
				worst = why
			}
		}
		next := a.row(m, hello, state, why, now)
		next.Standby = standby
		old := m.row
		if next == old || early && (old.State != tables.Up || state == tables.Up) {
			continue
		}
		m.wasUp = m.wasUp || state == tables.Up
		claim := next.Address != old.Address || next.BindPort != old.BindPort || next.LocalAddress != old.LocalAddress || next.LeaseID != old.LeaseID || next.Domain != old.Domain
		if claim {
			next.Serial++
		}
		if claim || next.Standby != old.Standby || (state == tables.Up && old.State != tables.Up) {
			commit.Mappings = append(commit.Mappings, next)
		} else {
			note.Mappings = append(note.Mappings, next)
		}
		changed = changed || claim || next.State != old.State || next.Reason != old.Reason || next.Standby != old.Standby
		m.row = next
	}
	if hello.Proxy.NodeID != "" {
		row := a.proxyRow(hello, link, now)
		switch {
		case row.Serial != a.known.Serial || row.NodeID != a.known.NodeID:
			commit.Proxies = append(commit.Proxies, row)
		case row.State != a.known.State || row.Reason != a.known.Reason || !row.VerifiedAt.Equal(a.known.VerifiedAt):
			note.Proxies = append(note.Proxies, row)
		}
		a.known = row
	}
	if !early {
		a.fresh = false
	}
	if err := a.put(commit, note); err != nil {
		return err
	}
	if changed || a.unclaimed {
		a.unclaimed = false
		a.claim(now)
	}
	a.post(kinds, early)
	return a.tell(now, all, changed, worst, hello)
}

// post tells those who wait what has changed; kinds are of a.maps.
func (a *attachment) post(kinds []Kind, early bool) {
	var posts []*post
	for i, m := range a.maps {
		if early && (m.posted == nil || m.row.State == m.posted.row.State) {
			continue // the row does not say yet what is known by now
		}
		if m.row.State != tables.Up && kinds[i] == Other {
			kinds[i] = StateUnusable // it works, and its row could not be written
		}
		p := post{Map: m.Map, row: m.row, kind: kinds[i], refused: m.refused != "" && m.blame != TimedOut, traffic: m.traffic}
		if m.posted == nil || *m.posted != p {
			m.posted = &p
			posts = append(posts, m.posted)
		}
	}
	a.s.board.put(a, posts)
}

// put commits and notes. A disk that is full must not take the tunnels down:
// the rows that could not be committed are tried again at the next pass.
func (a *attachment) put(commit, note tables.Batch) error {
	failpoint.Hit("server-committing")
	if err := a.s.store.Commit(commit); err != nil {
		a.log.Error("committing the mappings", "err", err)
		for _, row := range commit.Mappings {
			for _, m := range a.maps {
				if m.Name == row.Name {
					m.row.State, m.row.Reason = tables.Waiting, "its row could not be written: "+err.Error()
				}
			}
		}
		if !a.told {
			return stateFailure(err)
		}
	}
	failpoint.Hit("server-committed")
	a.s.store.Note(note)
	return nil
}

func (a *attachment) row(m *mapping, hello peerapi.Hello, state tables.State, why verdict, now time.Time) tables.Mapping {
	r := tables.Mapping{
		ServerName: a.s.o.Name, Address: hello.Proxy.Address, Type: m.Type, Name: m.Name, LocalAddress: m.Local,
		State: state, NodeID: a.s.key.ID(), ProxyID: hello.Proxy.NodeID, Serial: m.row.Serial, Node: m.node,
		VerifiedAt: m.row.VerifiedAt, ProvedBy: m.row.ProvedBy, Domain: m.Domain,
	}
	r.BindPort, r.LeaseID, r.LeaseUntil = m.row.BindPort, m.row.LeaseID, m.row.LeaseUntil
	if m.lease != nil {
		r.BindPort, r.LeaseID, r.LeaseUntil = m.lease.Port, m.lease.ID, m.lease.until.at()
	}
	if state == tables.Up {
		r.ProvedBy = why.by
		if m.row.State != tables.Up || a.fresh || now.Sub(m.row.VerifiedAt) >= reportEvery {
			r.VerifiedAt = now.UTC().Truncate(time.Millisecond)
		}
	} else {
		r.Reason = why.reason
	}
	return r
}

// proxyRow is the reverse proxy as this node sees it.
func (a *attachment) proxyRow(hello peerapi.Hello, link string, now time.Time) tables.ReverseProxy {
	r := hello.Proxy
	if said, ok := a.s.discovery.Proxy(r.NodeID); ok {
		r.PortsFree, r.Load = said.Free(), said.Load()
	}
	ms := float64(a.link.client.Latency().Microseconds()) / 1000
	r.LatencyMS = &ms
	if link != "" {
		r.State, r.Reason = tables.Down, link
	} else {
		r.State, r.Reason, r.VerifiedAt = tables.Up, "", now.UTC().Truncate(reportEvery)
	}
	return r
}

// tell shows the user how the mappings came out, once they have settled and
// then whenever one changes.
func (a *attachment) tell(now time.Time, all, changed bool, worst verdict, hello peerapi.Hello) error {
	if !a.told {
		if a.due.settled.IsZero() || (!all && now.Before(a.due.settled)) {
			return nil
		}
		if a.s.o.NoWait && !all {
			return fail(worst.kind, "leave --no-wait out to wait for it", "%s", worst.reason)
		}
	} else if !changed && !a.gone {
		return nil
	}
	n := Mapped{Proxy: a.proxyRow(hello, "", now), First: !a.told}
	for _, m := range a.maps {
		n.Rows = append(n.Rows, m.row)
	}
	if n.First {
		n.Took = now.Sub(a.s.started)
	}
	a.told, a.gone = true, false
	a.s.notify(n)
	return nil
}

// info answers GET /server_info on the node's own port, through the proxy too.
func (s *server) info() peerapi.ServerInfo {
	info := peerapi.ServerInfo{
		Name: s.o.Name, NodeID: s.key.ID(), Version: s.o.Version, OS: runtime.GOOS, Arch: runtime.GOARCH,
		UptimeSeconds: int64(time.Since(s.started).Seconds()), Role: peerapi.RoleServer,
	}
	for _, m := range s.store.Mappings() {
		if m.NodeID == s.key.ID() && m.Node && m.Type == tables.TCP {
			info.Reachable = peerapi.Reachable{Address: m.Address, Port: m.BindPort, How: peerapi.HowFRP, ProxyID: m.ProxyID}
		}
	}
	return info
}
