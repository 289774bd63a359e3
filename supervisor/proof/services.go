package proof

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables"
)

// remoteEvery is how often a service is dialled that is not seen in this
// host's table of listeners: a connect is felt by the service.
const remoteEvery = 30 * time.Second

// Service is a local address that a mapping leads to.
type Service struct {
	Type tables.Protocol
	Addr netip.AddrPort
}

// Services says whether something listens. Its methods are for one goroutine.
type Services struct {
	now    func() time.Time
	dialed map[netip.AddrPort]dialed
}

type dialed struct {
	at  time.Time
	err error
}

// NewServices has looked at nothing yet.
func NewServices() *Services {
	return &Services{now: time.Now, dialed: make(map[netip.AddrPort]dialed)}
}

// Check says of each service why it is not there. Services of this host are
// looked up in its table of listeners, where there is one; other TCP services
// are dialled, each at most once in 30 s; other UDP services cannot be
// asked and are believed.
func (s *Services) Check(ctx context.Context, services []Service) []error {
	table, known := readListeners()
	own := ownAddresses()
	errs := make([]error, len(services))
	var wg sync.WaitGroup
	results := make(map[int]*dialed)
	for i, v := range services {
		here := v.Addr.Addr().IsLoopback() || own[v.Addr.Addr()]
		switch {
		case here && known:
			if !table.has(v) {
				errs[i] = fmt.Errorf("nothing listens on %s", v.Addr)
			}
		case v.Type == tables.UDP:
		default:
			if last, ok := s.dialed[v.Addr]; ok && s.now().Sub(last.at) < remoteEvery {
				errs[i] = last.err
				continue
			}
			d := new(dialed)
			results[i] = d
			wg.Go(func() { *d = dialed{at: s.now(), err: connect(ctx, v.Addr)} })
		}
	}
	wg.Wait()
	for i, d := range results {
		s.dialed[services[i].Addr] = *d
		errs[i] = d.err
	}
	return errs
}

func connect(ctx context.Context, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", at.String())
	if err != nil {
		return fmt.Errorf("nothing listens on %s: %w", at, plain(err))
	}
	return conn.Close()
}

func ownAddresses() map[netip.Addr]bool {
	own := make(map[netip.Addr]bool)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own // they are dialled then
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap()] = true
		}
	}
	return own
}

// listeners are the ports that this host listens on, by protocol.
type listeners map[tables.Protocol]map[netip.AddrPort]bool

// has reports whether the service's address, or the wildcard, is listened on.
func (l listeners) has(v Service) bool {
	of, port := l[v.Type], v.Addr.Port()
	return of[v.Addr] || of[netip.AddrPortFrom(netip.IPv4Unspecified(), port)] || of[netip.AddrPortFrom(netip.IPv6Unspecified(), port)]
}
