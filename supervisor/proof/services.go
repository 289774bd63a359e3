package proof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"p2prc/tables"
)

const (
	// connectEvery is how often a service is dialled that is not seen in this
	// host's table of listeners: it feels each connect.
	connectEvery = 30 * time.Second

	// connectParallel is how many services are dialled at once.
	connectParallel = 64
)

// ErrNothingListens is what every error of Services.Check wraps.
var ErrNothingListens = errors.New("nothing listens")

// Service is the local address that a mapping leads to.
type Service struct {
	Type tables.Protocol
	Addr netip.AddrPort
}

// Services says whether something listens. It remembers what it dialled; its
// methods are for one goroutine.
type Services struct {
	now     func() time.Time
	table   func(tcp, udp bool) (listeners, error)
	dialled map[netip.AddrPort]dialled
}

type dialled struct {
	at  time.Time
	err error
}

// NewServices has looked at nothing yet.
func NewServices() *Services {
	return &Services{now: time.Now, table: readListeners}
}

// Check says of each service why it is not there, in order. On this host the
// system's table of listeners is read, once for all of them. Where there is no
// such table, and on other hosts, a TCP service is dialled, at most once in
// 30 s, and no byte is sent. A UDP service there cannot be told from silence:
// it is taken to be there.
func (s *Services) Check(ctx context.Context, services []Service) []error {
	errs := make([]error, len(services))
	here := s.here(services)
	var dial []int
	last := make(map[netip.AddrPort]dialled)
	for i, v := range services {
		if here.has(v, &errs[i]) || v.Type != tables.TCP {
			continue
		}
		if d, ok := s.dialled[v.Addr]; ok && s.now().Sub(d.at) < connectEvery {
			last[v.Addr], errs[i] = d, d.err
			continue
		}
		dial = append(dial, i)
	}
	at := s.now()
	forAll(len(dial), connectParallel, func(n int) {
		i := dial[n]
		errs[i] = connect(ctx, services[i].Addr)
	})
	for _, i := range dial {
		if ctx.Err() == nil { // else it was not really tried
			last[services[i].Addr] = dialled{at, errs[i]}
		}
	}
	s.dialled = last // those that are not asked for any more are forgotten
	return errs
}

func connect(ctx context.Context, addr netip.AddrPort) error {
	if err := Connect(ctx, addr); err != nil {
		return fmt.Errorf("%w on %s: %w", ErrNothingListens, addr, err)
	}
	return nil
}

// host is what is known of this host.
type host struct {
	addrs map[netip.Addr]bool // its own besides loopback
	table listeners           // nil: there is none
}

// here reads of this host what these services need.
func (s *Services) here(services []Service) host {
	var h host
	var tcp, udp, foreign bool
	for _, v := range services {
		tcp = tcp || v.Type == tables.TCP
		udp = udp || v.Type == tables.UDP
		foreign = foreign || !isLocal(v.Addr.Addr())
	}
	table, err := s.table(tcp, udp)
	if err != nil {
		return h // everything is dialled
	}
	h.table = table
	if foreign {
		h.addrs = ownAddrs()
	}
	return h
}

// has reports whether this host's table speaks of the service, and then sets
// err if nothing listens.
func (h host) has(v Service, err *error) bool {
	a := v.Addr.Addr().Unmap()
	if h.table == nil || !isLocal(a) && !h.addrs[a] {
		return false
	}
	if !h.table.has(v.Type, a, v.Addr.Port()) {
		*err = fmt.Errorf("%w on %s", ErrNothingListens, v.Addr)
	}
	return true
}

// isLocal reports addresses that every host has. Dialling 0.0.0.0 or :: is
// dialling oneself.
func isLocal(a netip.Addr) bool { return a.IsLoopback() || a.IsUnspecified() }

func ownAddrs() map[netip.Addr]bool {
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

// listeners are the addresses that this host listens on.
type listeners map[tables.Protocol]map[netip.AddrPort]bool

// has reports whether a connection to that address would find a listener. One
// on [::] counts for IPv4 too: whether it is for IPv6 alone does not show.
func (l listeners) has(proto tables.Protocol, a netip.Addr, port uint16) bool {
	of := l[proto]
	if a.IsUnspecified() {
		loop := netip.MustParseAddr("127.0.0.1")
		if a.Is6() {
			loop = netip.IPv6Loopback()
		}
		a = loop
	}
	return of[netip.AddrPortFrom(a, port)] ||
		of[netip.AddrPortFrom(netip.IPv6Unspecified(), port)] ||
		a.Is4() && of[netip.AddrPortFrom(netip.IPv4Unspecified(), port)]
}
