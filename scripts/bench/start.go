package main

import (
	"context"
	"fmt"
	"time"
)

// What a UDP row costs more than a TCP one: a fresh UDP proxy of frp answers
// its first datagram only after half a second (0.61.0-0.70.1).
const (
	startAim = 0.150 // s
	udpAim   = startAim + 0.55
)

// starting is how a server and a bare frpc are started again and again.
type starting struct {
	*bench
	proxy *proxyNode
	join  string
	frps  *bareFRPS
}

func (b *bench) starting(ctx context.Context) (*starting, error) {
	proxy, err := b.startProxy(ctx)
	if err != nil {
		return nil, err
	}
	join, err := proxy.join(ctx, b.world)
	if err != nil {
		return nil, err
	}
	frps, err := b.startFRPS(ctx)
	return &starting{b, proxy, join, frps}, err
}

// first measures a server that never ran before and joins by token.
func (s *starting) first(maps ...string) func(context.Context) (float64, error) {
	return s.timed(func(ctx context.Context) (*process, time.Duration, error) {
		n, err := s.newServer(s.join, maps...)
		if err != nil {
			return nil, 0, err
		}
		took, err := n.run(ctx, s.world)
		return n.process, took, err
	})
}

// again measures the start of one server that the proxy knows already.
func (s *starting) again(ctx context.Context, maps ...string) (func(context.Context) (float64, error), error) {
	n, err := s.newServer(s.join, maps...)
	if err != nil {
		return nil, err
	}
	if _, err := n.run(ctx, s.world); err != nil {
		return nil, err
	}
	n.proxy = at(s.proxy.port)
	return s.timed(func(ctx context.Context) (*process, time.Duration, error) {
		took, err := n.run(ctx, s.world)
		return n.process, took, err
	}), s.stop(n.process)
}

// bare measures frpc until its mappings are open.
func (s *starting) bare(maps []mapped, open func(context.Context, *process) (time.Time, error)) (func(context.Context) (float64, error), error) {
	conf, err := s.frpcFile(s.frps.port, maps)
	if err != nil {
		return nil, err
	}
	return s.timed(func(ctx context.Context) (*process, time.Duration, error) {
		p, err := s.bareFRPC(conf)
		if err != nil {
			return nil, 0, err
		}
		done, err := open(ctx, p)
		return p, done.Sub(p.began), err
	}), nil
}

func startServer(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.starting(ctx)
	if err != nil {
		return nil, err
	}
	tcp, err := s.startWith(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	udp, err := s.startWith(ctx, "udp")
	if err != nil {
		return tcp, err
	}
	for i, r := range tcp {
		tcp[i] = r.times(4).below(startAim)
	}
	for i, r := range udp {
		udp[i] = r.below(udpAim)
	}
	return append(tcp, udp...), nil
}

// startWith measures one mapping of the protocol.
func (s *starting) startWith(ctx context.Context, proto string) ([]result, error) {
	local, spec, err := s.oneService(proto)
	if err != nil {
		return nil, err
	}
	maps, err := s.publish(proto, local)
	if err != nil {
		return nil, err
	}
	open := func(ctx context.Context, p *process) (time.Time, error) {
		return until(ctx, p, "the port", func(ctx context.Context) bool {
			if proto == "udp" { // nothing accepts: only an answer tells
				return echoes("udp", maps[0].public, 20*time.Millisecond)
			}
			return accepts(ctx, maps[0].public)
		})
	}
	bare, err := s.bare(maps, open)
	if err != nil {
		return nil, err
	}
	again, err := s.again(ctx, spec)
	if err != nil {
		return nil, err
	}
	got, err := s.inTurns(ctx, "start of a server, "+proto, s.runs, s.first(spec), bare, again)
	if err != nil {
		return nil, err
	}
	return []result{
		compare("server-first-"+proto, "server's first start, one "+proto+" mapping, to row up on disk", inSeconds, got[0], got[1]),
		compare("server-again-"+proto, "server's restart, one "+proto+" mapping, to row up on disk", inSeconds, got[2], got[1]),
	}, nil
}

func (s *starting) oneService(proto string) (port int, spec string, err error) {
	if proto == "udp" {
		port, err = s.echoUDP()
		return port, fmt.Sprintf("m=%d/udp", port), err
	}
	ports, err := s.echoTCP(1)
	if err != nil {
		return 0, "", err
	}
	return ports[0], fmt.Sprintf("m=%d", ports[0]), nil
}

// startThousand gives each first start a reverse proxy of its own: a thousand
// reservations stay behind, and the pool has room for them once.
func startThousand(ctx context.Context, b *bench) ([]result, error) {
	const n = 1000
	locals, err := b.echoTCP(n)
	if err != nil {
		return nil, err
	}
	specs := mapSpecs(locals)
	maps, err := b.publish("tcp", locals...)
	if err != nil {
		return nil, err
	}
	s, err := b.starting(ctx)
	if err != nil {
		return nil, err
	}
	again, err := s.again(ctx, specs...)
	if err != nil {
		return nil, err
	}
	bare, err := s.bare(maps, func(ctx context.Context, p *process) (time.Time, error) { return allOpen(ctx, p, n) })
	if err != nil {
		return nil, err
	}
	first := func(ctx context.Context) (float64, error) {
		proxy, err := b.startProxy(ctx)
		if err != nil {
			return 0, err
		}
		join, err := proxy.join(ctx, b.world)
		if err != nil {
			return 0, err
		}
		other := &starting{bench: b, proxy: proxy, join: join}
		took, err := other.first(specs...)(ctx)
		if err != nil {
			return 0, err
		}
		return took, b.stop(proxy.process)
	}
	got, err := b.inTurns(ctx, "start of a server, 1,000 mappings", b.runs, first, bare, again)
	if err != nil {
		return nil, err
	}
	return []result{
		compare("thousand-first", "server's first start, 1,000 mappings, to all rows up on disk", inSeconds, got[0], got[1]).times(6).below(1.2),
		compare("thousand-again", "server's restart, 1,000 mappings, to all rows up on disk", inSeconds, got[2], got[1]).times(6).below(1.2),
	}, nil
}
