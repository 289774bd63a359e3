package supervisor

import (
	"time"

	"p2prc/tables"
	"p2prc/tables/record"
)

// says is what a reverse proxy tells the world: what it is, and which of the
// mappings that others know of do not work, as far as it can tell.
func (r *reverseProxy) says() []record.Body {
	row := r.row()
	said := []record.Body{&record.Proxy{
		Name: row.ServerName, Address: row.Address, NodePort: row.NodePort, FRPPort: row.FRPPort,
		Pool: row.Ports, Free: uint32(row.Ports.Len()), // the heartbeat tells what is left
		Admission: row.Admission, FRPVersion: row.FRPVersion, Version: r.o.Version,
		HTTPPort: row.HTTPPort, HTTPSPort: row.HTTPSPort,
	}}
	now := time.Now().UTC().Truncate(time.Second)
	down := make(map[tables.MappingKey]time.Time)
	for _, m := range r.store.Mappings() {
		t := record.Tunnel{Node: m.NodeID, Proxy: m.ProxyID, Name: m.Name}
		if m.ProxyID != r.key.ID() || m.State == tables.Up || !r.discovery.Claimed(t) || r.saidByServer(m, now) {
			continue
		}
		since, ok := r.down[m.Key()]
		if !ok {
			since = now
		}
		down[m.Key()] = since
		said = append(said, &record.Down{Tunnel: t, Reason: m.Reason, Since: since})
	}
	r.down = down
	return said
}

// saidByServer reports whether a mapping's own server says that it does not
// work, and so tells the others itself: it is alive, where a proxy's word would
// mean that it is not.
func (r *reverseProxy) saidByServer(m tables.Mapping, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.reports[m.NodeID]
	if n == nil || now.Sub(n.at) > silentAfter {
		return false
	}
	said := n.rows[m.LeaseID]
	return said.State != "" && said.State != tables.Up && said.Reason == m.Reason
}

// beat is this proxy's sign of life.
func (r *reverseProxy) beat() record.Heartbeat {
	return record.Heartbeat{Free: uint32(r.book.Free()), Load: uint32(r.book.Live())}
}
