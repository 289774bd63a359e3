package discovery

import (
	"errors"
	"net/netip"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/record"
)

// Claimed reports whether a mapping is one that others know of.
func (d *Discovery) Claimed(t record.Tunnel) bool {
	return d.set.Get(t.Node, t.ClaimSubject(), time.Now()) != nil
}

// Known is a reverse proxy that this node knows of.
type Known struct {
	record.ProxyView
	Latency  time.Duration
	Verified bool // this node has dialled it, pinned
}

// Proxies are those that live, in no order, without this node itself.
func (d *Discovery) Proxies() []Known {
	var out []Known
	for _, v := range d.set.Proxies(time.Now()) {
		if v.Record.Owner == d.o.Key.ID() || !v.Alive() {
			continue
		}
		p := Known{ProxyView: v}
		p.Latency, p.Verified = d.meter.verified(v.Record.Owner)
		out = append(out, p)
	}
	return out
}

// Proxy is what a reverse proxy says of itself, if that is known.
func (d *Discovery) Proxy(id identity.ID) (record.ProxyView, bool) {
	return d.set.ProxyOf(id, time.Now())
}

// Look has a reverse proxy dialled again: something happened to it.
func (d *Discovery) Look(id identity.ID) { d.meter.soon(id) }

// Leased says where the port of a signed lease may be dialled, and whose it is.
func (d *Discovery) Leased(signed []byte) (netip.AddrPort, lease.Signed, error) {
	proxy, err := lease.SignedBy(signed)
	if err != nil {
		return netip.AddrPort{}, lease.Signed{}, err
	}
	now := time.Now()
	r := d.set.Get(proxy, record.SubjectProxy, now)
	if r == nil {
		return netip.AddrPort{}, lease.Signed{}, errors.New("the reverse proxy is not known here")
	}
	at, s, err := record.Witness(signed, r, now)
	if err == nil {
		err = d.o.Filter.Check(at.Addr())
	}
	return at, s, err
}
