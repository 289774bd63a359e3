package record

import (
	"cmp"
	"slices"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// ProxyView is a reverse proxy as its own records describe it.
type ProxyView struct {
	Record *Record
	Proxy  *Proxy
	Beat   *Record // its newest heartbeat; nil: it is silent
}

// Alive tells whether its heartbeat is fresh.
func (v ProxyView) Alive() bool { return v.Beat != nil }

// Free is how many ports it has left, as it said last.
func (v ProxyView) Free() int {
	if v.Beat != nil {
		return int(v.Beat.Body.(*Heartbeat).Free)
	}
	return int(v.Proxy.Free)
}

// Load is how many leases live on it, as it said last.
func (v ProxyView) Load() int {
	if v.Beat != nil {
		return int(v.Beat.Body.(*Heartbeat).Load)
	}
	return 0
}

// Row is the row that the records amount to. Whether the proxy really answers,
// and how fast, is for the reader to measure: up means here that it says so
// itself.
func (v ProxyView) Row() tables.ReverseProxy {
	p := v.Proxy
	row := tables.ReverseProxy{
		ServerName: p.Name, Address: p.Address, State: tables.Up,
		NodePort: p.NodePort, FRPPort: p.FRPPort, Ports: p.Pool, PortsFree: v.Free(),
		Admission: p.Admission, FRPVersion: p.FRPVersion, NodeID: v.Record.Owner, Serial: v.Record.Serial,
		HTTPPort: p.HTTPPort, HTTPSPort: p.HTTPSPort,
	}
	if !v.Alive() {
		row.State, row.Reason = tables.Down, silent
	}
	return row
}

const silent = "the reverse proxy is silent"

// ClaimView is a mapping with all that is said about it.
type ClaimView struct {
	Record *Record
	Claim  *Claim
	State  tables.State // Up or Down
	Reason string
	Since  time.Time // of a Down that somebody said; else zero
	DownBy identity.ID
}

// Row is the row that the records amount to.
func (v ClaimView) Row() tables.Mapping {
	c := v.Claim
	return tables.Mapping{
		ServerName: c.Server, Address: c.Address, Type: c.lease.Type, BindPort: c.lease.Port, Name: c.lease.Name,
		State: v.State, Reason: v.Reason, LeaseUntil: c.lease.Until, NodeID: v.Record.Owner, ProxyID: c.lease.Proxy,
		Serial: v.Record.Serial, LeaseID: c.lease.LeaseID, Node: c.Node, Domain: c.lease.Domain,
	}
}

// View is what a set amounts to at one time, in no order.
type View struct {
	Proxies []ProxyView
	Claims  []ClaimView
}

// View looks at all records in one pass. A claim is up while its reverse proxy
// lives, stands by the claimed address, and neither it nor the node said down
// since the claim was made.
func (s *Set) View(now time.Time) View {
	var v View
	beats := map[identity.ID]*Record{}
	downs := map[Tunnel]*Record{}
	for _, r := range s.All(now) {
		switch b := r.Body.(type) {
		case *Proxy:
			v.Proxies = append(v.Proxies, ProxyView{Record: r, Proxy: b})
		case *Heartbeat:
			beats[r.Owner] = r
		case *Claim:
			v.Claims = append(v.Claims, ClaimView{Record: r, Claim: b})
		case *Down:
			if old := downs[b.Tunnel]; old == nil || later(r, old) {
				downs[b.Tunnel] = r
			}
		}
	}
	proxies := make(map[identity.ID]ProxyView, len(v.Proxies))
	for i := range v.Proxies {
		p := &v.Proxies[i]
		p.Beat = beats[p.Record.Owner]
		proxies[p.Record.Owner] = *p
	}
	for i := range v.Claims {
		c := &v.Claims[i]
		c.judge(proxies[c.Claim.lease.Proxy], downs[c.Claim.Tunnel()])
	}
	return v
}

// later is the order of two downs of one mapping, by its node and its proxy:
// that about the newer claim, else that which was said last.
func later(a, b *Record) bool {
	x, y := a.Body.(*Down), b.Body.(*Down)
	return cmp.Or(cmp.Compare(x.Claim, y.Claim), x.Since.Compare(y.Since), cmp.Compare(a.Owner, b.Owner)) > 0
}

// judge says whether the claim is up. Its down may be nil, its proxy unknown.
func (v *ClaimView) judge(p ProxyView, down *Record) {
	v.State = tables.Down
	switch {
	case down != nil && down.Body.(*Down).Claim >= v.Record.Serial:
		d := down.Body.(*Down)
		v.Reason, v.Since, v.DownBy = d.Reason, d.Since, down.Owner
	case p.Proxy == nil:
		v.Reason = "the reverse proxy is not known"
	case !p.Alive():
		v.Reason = silent
	case p.Proxy.Address != v.Claim.Address:
		v.Reason = "the reverse proxy has another address by now"
	default:
		v.State = tables.Up
	}
}

// Owned is the records of one node that hold, sorted by subject.
func (s *Set) Owned(id identity.ID, now time.Time) []*Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.owners[id]
	if o == nil {
		return nil
	}
	var out []*Record
	for _, e := range o.entries {
		if !e.void && e.Live(now) {
			out = append(out, e.Record)
		}
	}
	slices.SortFunc(out, func(a, b *Record) int { return cmp.Compare(a.Subject, b.Subject) })
	return out
}

// Get is what a node says about a subject, or nil.
func (s *Set) Get(owner identity.ID, subject Subject, now time.Time) *Record {
	if r := s.Pick([]Key{KeyOf(owner, subject)}); len(r) == 1 && r[0].Live(now) {
		return r[0]
	}
	return nil
}
