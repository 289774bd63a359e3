package supervisor

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"p2prc/frpconf"
	"p2prc/supervisor/failpoint"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// Bounds on what a proxy believes without asking again.
const (
	watchEvery  = 15 * time.Second
	watchAgain  = 100 * time.Millisecond // a port that may be settling
	silentAfter = 40 * time.Second       // a node reports every 15 s
	rowLife     = 24 * time.Hour         // a row whose lease ended is shown for so long
	byName      = 8                      // up to so many proxies are asked for one by one
)

// node is what a server said in its last report.
type node struct {
	name string
	at   time.Time
	left bool // its p2prc went, its tunnels stay
	rows map[string]peerapi.Row

	table sync.Mutex // one report or release at a time changes this node's rows
}

// oneAtATime keeps a report that is slow from bringing back the rows of leases
// that were released in the meantime.
func (r *reverseProxy) oneAtATime(id identity.ID) (unlock func()) {
	r.mu.Lock()
	n := r.reports[id]
	if n == nil {
		n = &node{at: r.started, rows: make(map[string]peerapi.Row)}
		r.reports[id] = n
	}
	r.mu.Unlock()
	n.table.Lock()
	return n.table.Unlock
}

// heard takes a sign of life of a node.
func (r *reverseProxy) heard(peer peerapi.Peer, req *peerapi.ReportRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.reports[peer.ID]
	if n == nil {
		n = &node{rows: make(map[string]peerapi.Row)}
		r.reports[peer.ID] = n
	}
	n.name, n.at, n.left = peer.Name, time.Now(), false
	if req == nil {
		return
	}
	n.left = req.Left
	for _, row := range req.Rows {
		n.rows[row.LeaseID] = row
		if row.Proved != "" && r.self.State != tables.Up {
			r.self.State, r.self.Reason, r.self.VerifiedAt = tables.Up, "", n.at.UTC().Truncate(time.Second)
			r.poke()
		}
	}
}

// Report renews leases, checks step (c) and commits the rows that hold: step 7
// at the proxy.
func (r *reverseProxy) Report(ctx context.Context, peer peerapi.Peer, req peerapi.ReportRequest) (peerapi.ReportReply, error) {
	r.heard(peer, &req)
	asked := make([]lease.Renewal, len(req.Rows))
	claims := 0
	for i, row := range req.Rows {
		asked[i] = lease.Renewal{LeaseID: row.LeaseID, PortProved: row.Proved != ""}
		if row.State == tables.Up {
			claims++
		}
	}
	if claims > 0 {
		r.confirm(ctx, peer.ID, req.Rows)
	}
	defer r.oneAtATime(peer.ID)()
	failpoint.Hit("proxy-renewing")
	renewed, err := r.book.Renew(peer.ID, asked)
	if err != nil {
		return peerapi.ReportReply{}, err
	}
	reply := peerapi.ReportReply{Rows: make([]peerapi.RowReply, len(renewed))}
	var commit, note tables.Batch
	now := time.Now()
	for i, got := range renewed {
		reply.Rows[i] = peerapi.RowReply{
			LeaseID: got.LeaseID, TTL: peerapi.Milliseconds(got.TTL.Milliseconds()), Online: got.Online, Reason: got.Reason,
		}
		if got.TTL == 0 {
			continue
		}
		t := r.trafficOf(peer.ID, got.Row.Name)
		reply.Rows[i].In, reply.Rows[i].Out, reply.Rows[i].Conns = t.In, t.Out, t.Connections
		row, old := r.mapping(peer.Name, got.Row, req.Rows[i], got.Online, got.Reason, now)
		claim := old.Public() != row.Public() || old.LocalAddress != row.LocalAddress || old.LeaseID != row.LeaseID || old.Standby != row.Standby || old.Domain != row.Domain
		switch {
		case row.State == tables.Up && old.State != tables.Up, claim && (row.State == tables.Up || old.LeaseID != ""):
			commit.Mappings = append(commit.Mappings, row)
		case old.LeaseID != "" || row.State == tables.Up:
			note.Mappings = append(note.Mappings, row)
		}
	}
	failpoint.Hit("proxy-committing")
	if err := r.store.Commit(commit); err != nil {
		return peerapi.ReportReply{}, fmt.Errorf("committing the mappings: %w", err)
	}
	failpoint.Hit("proxy-committed")
	r.store.Note(note)
	if len(commit.Mappings) > 0 {
		r.discovery.Changed()
	}
	return reply, nil
}

// mapping is the row of one lease after a report, and the row before.
func (r *reverseProxy) mapping(server string, res tables.Reservation, said peerapi.Row, online bool, why string, now time.Time) (row, old tables.Mapping) {
	row = tables.Mapping{
		ServerName: server, Address: r.o.PublicAddress, Type: res.Type, BindPort: res.Port, Name: res.Name, Domain: res.Domain,
		LocalAddress: said.Local, State: said.State, Reason: said.Reason, LeaseUntil: res.LeaseUntil, LeaseID: res.LeaseID,
		NodeID: res.NodeID, ProxyID: r.key.ID(), Node: said.Node, Standby: said.Standby,
	}
	old, _ = r.store.Mapping(row.Key())
	row.Serial, row.VerifiedAt, row.ProvedBy = old.Serial, old.VerifiedAt, old.ProvedBy
	if row.State == tables.Up && !online {
		row.State, row.Reason = tables.Down, why
	}
	if row.State == tables.Up {
		row.VerifiedAt, row.ProvedBy = now.UTC().Truncate(time.Millisecond), said.Proved
	}
	if old.Public() != row.Public() || old.LocalAddress != row.LocalAddress || old.LeaseID != row.LeaseID || old.Domain != row.Domain {
		row.Serial++
	}
	return row, old
}

// confirm looks at frps for the mappings that a node says are up and that the
// book does not know to be online.
func (r *reverseProxy) confirm(ctx context.Context, id identity.ID, rows []peerapi.Row) {
	var unsure []lease.Status
	byID := make(map[string]lease.Status)
	for _, s := range r.book.Of(id) {
		byID[s.LeaseID] = s
	}
	for _, row := range rows {
		if s, ok := byID[row.LeaseID]; ok && row.State == tables.Up && !s.Online {
			unsure = append(unsure, s)
		}
	}
	if len(unsure) == 0 {
		return
	}
	if len(unsure) > byName {
		r.observe(ctx)
		return
	}
	api := r.frps.admin()
	if api == nil {
		return
	}
	var seen []lease.Online
	for _, s := range unsure {
		p, err := api.Proxy(ctx, s.Type.FRP(), frpconf.ProxyName(string(s.NodeID), s.Name))
		if err != nil {
			r.log.Debug("asking frps for one mapping", "err", err)
			continue
		}
		if p.Online {
			seen = append(seen, lease.Online{Node: s.NodeID, Name: s.Name, Type: s.Type, Port: p.RemotePort, Domain: p.Domain})
		}
	}
	r.book.Seen(seen)
}

// observe compares the book with all that frps lists.
func (r *reverseProxy) observe(ctx context.Context) {
	api := r.frps.admin()
	if api == nil {
		return
	}
	asked := time.Now()
	var online []lease.Online
	traffic := make(map[mappingOf]Traffic)
	for _, proto := range r.lent() {
		list, err := api.Proxies(ctx, proto.FRP())
		if err != nil {
			r.log.Warn("asking frps what it has open", "err", err)
			return
		}
		for _, p := range list {
			if !p.Online {
				continue
			}
			o := lease.Online{Name: p.Name, Type: proto, Port: p.RemotePort, Domain: p.Domain}
			if id, name, ok := frpconf.ParseProxyName(p.Name); ok {
				o.Node, o.Name = identity.ID(id), name
				traffic[mappingOf{o.Node, name}] = Traffic{In: p.In, Out: p.Out, Connections: p.Conns}
			}
			online = append(online, o)
		}
	}
	r.mu.Lock()
	r.traffic = traffic
	r.mu.Unlock()
	found, err := r.book.Observe(asked, online)
	if err != nil {
		r.log.Error("writing the reservations", "err", err)
	}
	r.found(found)
}

// lent are the protocols of which there can be mappings here.
func (r *reverseProxy) lent() []tables.Protocol {
	lent := []tables.Protocol{tables.TCP, tables.UDP}
	if r.o.HTTPPort != 0 {
		lent = append(lent, tables.HTTP)
	}
	if r.o.HTTPSPort != 0 {
		lent = append(lent, tables.HTTPS)
	}
	return lent
}

func (r *reverseProxy) trafficOf(id identity.ID, name string) Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.traffic[mappingOf{id, name}]
}

func (r *reverseProxy) found(findings []lease.Finding) {
	for _, f := range findings {
		switch f.Kind {
		case lease.Squatter:
			r.log.Warn("frps lists a port that nobody leased", "peer", f.Node, "row", f.Name, "port", f.Port)
		case lease.Unguarded:
			r.log.Warn("a leased port cannot be held", "peer", f.Node, "row", f.Name, "port", f.Port, "err", f.Err)
		default:
			r.log.Info("lease "+string(f.Kind), "peer", f.Node, "row", f.Name, "port", f.Port)
		}
	}
}

// watch keeps book and rows in line with frps and with what the nodes say.
func (r *reverseProxy) watch(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	beat, ended := r.o.loop("watch")
	defer ended()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-timer.C:
		}
		beat()
		r.observe(ctx)
		r.review(time.Now())
		r.tell()
		timer.Reset(spread(watchEvery))
	}
}

// next is closed once the rows were looked at again.
func (r *reverseProxy) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *reverseProxy) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// review marks the rows that no longer hold, and forgets those that are long over.
func (r *reverseProxy) review(now time.Time) {
	var note, drop tables.Batch
	for _, m := range r.store.Mappings() {
		if m.ProxyID != r.key.ID() {
			continue
		}
		if !m.LeaseUntil.IsZero() && now.Sub(m.LeaseUntil) > rowLife {
			drop.DropMappings = append(drop.DropMappings, m.Key())
			continue
		}
		state, reason := r.judge(m, now)
		if state != tables.Up {
			r.forget(m) // what its server proved before counts no more
		}
		if state != m.State || reason != m.Reason {
			m.State, m.Reason = state, reason
			note.Mappings = append(note.Mappings, m)
		}
	}
	if len(note.Mappings) > 0 {
		defer r.discovery.Changed()
	}
	if row := r.row(); row.State != "" { // frps has run: before that there is no row
		note.Proxies = []tables.ReverseProxy{row}
	}
	if err := r.store.Commit(drop); err != nil {
		r.log.Error("dropping old rows", "err", err)
	}
	r.store.Note(note)
}

// forget drops the last word of a mapping's server: only a new one makes the
// row up again.
func (r *reverseProxy) forget(m tables.Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.reports[m.NodeID]; n != nil {
		delete(n.rows, m.LeaseID)
	}
}

// judge is what the row of a mapping should say at the proxy: the node's last
// word, unless the proxy knows better.
func (r *reverseProxy) judge(m tables.Mapping, now time.Time) (tables.State, string) {
	r.mu.Lock()
	n := r.reports[m.NodeID]
	var said peerapi.Row
	at, left := r.started, false
	if n != nil {
		said, at, left = n.rows[m.LeaseID], n.at, n.left
	}
	r.mu.Unlock()
	s, ok := r.book.Get(m.NodeID, m.Name)
	switch {
	case !ok || s.Left == 0 || s.LeaseID != m.LeaseID:
		return tables.Down, "its server has not renewed the lease"
	case !s.Online:
		return tables.Down, s.Reason
	case !left && now.Sub(at) > silentAfter:
		return tables.Down, unheard(at)
	case said.State != "":
		return said.State, said.Reason
	}
	return m.State, m.Reason
}

func unheard(since time.Time) string {
	return "its server has not been heard from since " + since.UTC().Format(time.RFC3339)
}

// drop takes rows out of the mapping table.
func (r *reverseProxy) drop(gone func(tables.Mapping) bool) error {
	var b tables.Batch
	for _, m := range r.store.Mappings() {
		if m.ProxyID == r.key.ID() && gone(m) {
			b.DropMappings = append(b.DropMappings, m.Key())
		}
	}
	return r.store.Commit(b)
}

// info answers GET /server_info on the node port.
func (r *reverseProxy) info() peerapi.ServerInfo {
	return peerapi.ServerInfo{
		Name: r.o.Name, NodeID: r.key.ID(), Version: r.o.Version, OS: runtime.GOOS, Arch: runtime.GOARCH,
		UptimeSeconds: int64(time.Since(r.started).Seconds()), Role: peerapi.RoleReverseProxy,
		Reachable: peerapi.Reachable{Address: r.o.PublicAddress, Port: r.o.ListenPort, How: peerapi.HowPublic},
	}
}
