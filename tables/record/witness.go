package record

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
)

// Witness says what a witness may dial for a lease: the address that the
// reverse proxy itself advertises, and the port that it signed, in its own pool
// and for as long as it said. By domain that is the canary domain of the node
// alone, on the port for all. Whoever asks cannot lead it anywhere else. The
// proxy's record must come from a Set, where its signature was checked.
func Witness(signed []byte, proxy *Record, now time.Time) (netip.AddrPort, lease.Signed, error) {
	at, s, err := witness(signed, proxy, now)
	if err != nil {
		return netip.AddrPort{}, lease.Signed{}, fmt.Errorf("witnessing a port: %w", err)
	}
	return at, s, nil
}

func witness(signed []byte, proxy *Record, now time.Time) (netip.AddrPort, lease.Signed, error) {
	p, ok := proxy.Body.(*Proxy)
	if !ok || !proxy.Live(now) {
		return netip.AddrPort{}, lease.Signed{}, errors.New("the reverse proxy is not known")
	}
	s, err := lease.ParseSigned(signed, func(msg, sig []byte) bool {
		return identity.Verify(proxy.Owner, proxy.PublicKey(), msg, sig) == nil
	})
	switch {
	case err != nil:
	case s.Proxy != proxy.Owner:
		err = fmt.Errorf("the lease is one of reverse proxy %s", s.Proxy.Short())
	case !now.Before(s.Until):
		err = errors.New("the lease has ended")
	default:
		err = p.witnessed(s)
	}
	return netip.AddrPortFrom(p.Address, s.Port), s, err
}

// witnessed says why a witness does not dial for a lease at this reverse proxy.
func (p *Proxy) witnessed(s lease.Signed) error {
	if !s.Type.ByName() {
		if !p.Pool.Contains(s.Port) {
			return fmt.Errorf("port %d is outside of the reverse proxy's pool %s", s.Port, p.Pool)
		}
		return nil
	}
	switch {
	case s.Domain != tables.CanaryDomain(s.Node):
		return fmt.Errorf("the domain %s is not the node's own", s.Domain)
	case s.Port != s.Type.NamePort(p.HTTPPort, p.HTTPSPort):
		return fmt.Errorf("port %d is not the one that the reverse proxy lends %s domains on", s.Port, s.Type.FRP())
	}
	return nil
}
