package record

import (
	"time"

	"p2prc/tables/identity"
)

// Tunnel is the mapping that a claim, a down, or the taking back of one is about.
func (r *Record) Tunnel() (t Tunnel, ok bool) {
	switch b := r.Body.(type) {
	case *Claim:
		return b.Tunnel(), true
	case *Down:
		return b.Tunnel, true
	case *Gone:
		if t, err := parseClaimSubject(b.Of); err == nil {
			t.Node = r.Owner
			return t, true
		}
		if t, err := parseDownSubject(b.Of); err == nil {
			return t, true
		}
	}
	return Tunnel{}, false
}

// Proxies is the reverse proxies of View, in no order.
func (s *Set) Proxies(now time.Time) []ProxyView {
	var out []ProxyView
	for _, r := range s.ofProxies(KindProxy, now) {
		if v, ok := s.ProxyOf(r.Owner, now); ok {
			out = append(out, v)
		}
	}
	return out
}

// ProxyOf is one reverse proxy of View.
func (s *Set) ProxyOf(id identity.ID, now time.Time) (v ProxyView, ok bool) {
	r := s.Get(id, SubjectProxy, now)
	if r == nil {
		return ProxyView{}, false
	}
	p, ok := r.Body.(*Proxy)
	if !ok {
		return ProxyView{}, false
	}
	v = ProxyView{Record: r, Proxy: p}
	if beat := s.Get(id, SubjectHeartbeat, now); beat != nil && beat.Kind() == KindHeartbeat {
		v.Beat = beat
	}
	return v, true
}

// ClaimOf is one mapping of View.
func (s *Set) ClaimOf(t Tunnel, now time.Time) (v ClaimView, ok bool) {
	r := s.Get(t.Node, t.ClaimSubject(), now)
	if r == nil {
		return ClaimView{}, false
	}
	c, ok := r.Body.(*Claim)
	if !ok {
		return ClaimView{}, false
	}
	v = ClaimView{Record: r, Claim: c}
	var down *Record
	for _, who := range []identity.ID{t.Node, t.Proxy} {
		d := s.Get(who, t.DownSubject(), now)
		if d == nil || d.Kind() != KindDown {
			continue
		}
		if down == nil || later(d, down) {
			down = d
		}
	}
	proxy, _ := s.ProxyOf(t.Proxy, now)
	v.judge(proxy, down)
	return v, true
}
