package discovery

import (
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// Claimed reports whether a mapping is one that others know of.
func (d *Discovery) Claimed(t record.Tunnel) bool {
	return d.set.Get(t.Node, t.ClaimSubject(), time.Now()) != nil
}

// Proxy is a reverse proxy that this node knows of.
type Proxy struct {
	record.ProxyView
	Latency  time.Duration
	Verified bool // this node has dialled it, pinned
}

// Proxies are those that live, in no order, without this node itself.
func (d *Discovery) Proxies() []Proxy {
	var out []Proxy
	for _, v := range d.set.Proxies(time.Now()) {
		if v.Record.Owner == d.o.Key.ID() || !v.Alive() {
			continue
		}
		p := Proxy{ProxyView: v}
		p.Latency, p.Verified = d.meter.verified(v.Record.Owner)
		out = append(out, p)
	}
	return out
}

// Look has a reverse proxy dialled again: something happened to it.
func (d *Discovery) Look(id identity.ID) { d.meter.soon(id) }
