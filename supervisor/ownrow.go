package supervisor

import (
	"fmt"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// describe writes this proxy's own row.
func (r *reverseProxy) describe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.self = tables.ReverseProxy{
		ServerName: r.o.Name, Address: r.o.PublicAddress, State: tables.Waiting, Reason: "not yet seen from outside",
		NodePort: r.o.ListenPort, FRPPort: r.o.FRPPort, Ports: r.o.Ports, PortsFree: r.book.Free(),
		Admission: tables.AdmitToken, FRPVersion: r.self.FRPVersion, NodeID: r.key.ID(), Serial: 1,
		HTTPPort: r.o.HTTPPort, HTTPSPort: r.o.HTTPSPort,
	}
	if r.o.Open {
		r.self.Admission = tables.AdmitOpen
	}
	for _, old := range r.store.Proxies() {
		if old.NodeID == r.self.NodeID {
			r.self.Serial = old.Serial + 1
		}
	}
}

// row is this proxy's own row as it stands.
func (r *reverseProxy) row() tables.ReverseProxy {
	free := r.book.Free()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.self.PortsFree = free
	return r.self
}

// withdraw takes this proxy's rows out of the tables.
func (r *reverseProxy) withdraw() error {
	b := tables.Batch{DropProxies: []identity.ID{r.key.ID()}}
	for _, m := range r.store.Mappings() {
		if m.ProxyID == r.key.ID() {
			b.DropMappings = append(b.DropMappings, m.Key())
		}
	}
	if err := r.store.Commit(b); err != nil {
		return fmt.Errorf("withdrawing the rows: %w", err)
	}
	return nil
}
