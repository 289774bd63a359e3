package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

const (
	witnessWait = 4 * time.Second // for one witness to dial all that it is asked to
	maxWitness  = 64              // ports in one request (tables/peerapi)
	witnesses   = 3               // asked at most, one after the other
	relays      = 16              // ports that a witness dials at once
)

// Witness dials ports of other reverse proxies for nodes that cannot. It goes by
// what the reverse proxy itself signed, so that nobody can lead it elsewhere, and
// never by its own word about its own ports: those dials would not pass its
// firewall.
func (r *reverseProxy) Witness(ctx context.Context, peer peerapi.Peer, req peerapi.WitnessRequest) (peerapi.WitnessReply, error) {
	ctx, cancel := context.WithTimeout(ctx, witnessWait)
	defer cancel()
	reply := peerapi.WitnessReply{Name: r.o.Name, Answers: make([]peerapi.Witnessed, len(req.Asks))}
	slots := make(chan struct{}, relays)
	var wg sync.WaitGroup
	for i, ask := range req.Asks {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answer, err := r.relay(ctx, peer.ID, ask)
			reply.Answers[i].Answer = answer
			if err != nil {
				reply.Answers[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return reply, nil
}

func (r *reverseProxy) relay(ctx context.Context, node identity.ID, ask peerapi.Ask) ([]byte, error) {
	at, signed, err := r.discovery.Leased(ask.Lease)
	switch {
	case err != nil:
		return nil, err
	case signed.Node != node:
		return nil, errors.New("the lease is another node's")
	case signed.Proxy == r.key.ID():
		return nil, errors.New("a reverse proxy is no witness of its own ports")
	}
	return proof.Relay(ctx, way(r.key, node, signed.Type, at), ask.Question)
}

// way leads to a canary of a node, or to what guards its port.
func way(key identity.Key, node identity.ID, proto tables.Protocol, at netip.AddrPort) proof.Way {
	w := proof.Way{Type: proto, Addr: at}
	if proto.ByName() {
		w.Domain = tables.CanaryDomain(node)
	}
	if proto == tables.HTTPS {
		w.TLS = identity.ClientTLS(key, node, []string{peerapi.ALPNCanary})
	}
	return w
}

// witness is another reverse proxy that dials for this node, which cannot reach
// the pool of the one it is attached to: an egress filter, most often.
type witness struct {
	name   string
	client *peerapi.Client
}

// witnesses are some reverse proxies that could be asked about this one's ports,
// others each time.
func (a *attachment) witnesses() []witness {
	var out []witness
	self := a.proxyID()
	dialer := a.s.filter().Dialer()
	for _, p := range a.s.discovery.Proxies() {
		if p.Record.Owner == self || !p.Verified || len(out) == witnesses {
			continue
		}
		at := p.Proxy.NodeAddress()
		out = append(out, witness{p.Proxy.Name, peerapi.NewClient(peerapi.ClientOptions{
			Key: a.s.key, Host: at.Addr().String(), Port: at.Port(), Pin: p.Record.Owner, Name: a.s.o.Name, Timeout: callWait,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
		})})
	}
	return out
}

// carried is a question about one mapping's port, for a witness to carry.
type carried struct {
	m *mapping
	q proof.Question
}

// carry has the witness ask, and returns why each question did not get its
// right answer, in order.
func (w witness) carry(ctx context.Context, asks []carried) ([]error, error) {
	errs := make([]error, 0, len(asks))
	for len(asks) > 0 {
		n := min(len(asks), maxWitness)
		var req peerapi.WitnessRequest
		for _, c := range asks[:n] {
			req.Asks = append(req.Asks, peerapi.Ask{Lease: c.m.lease.Signed, Question: c.q.Bytes})
		}
		reply, err := w.client.Witness(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("asking %s: %w", w.name, err)
		}
		for i, got := range reply.Answers {
			switch {
			case got.Error != "":
				errs = append(errs, errors.New(got.Error))
			case asks[i].q.Right != nil && !asks[i].q.Right(got.Answer):
				errs = append(errs, proof.ErrStranger)
			default:
				errs = append(errs, nil)
			}
		}
		asks = asks[n:]
	}
	return errs, nil
}

// dialByOthers is step (a) for ports that this node itself could not dial. The
// first witness that reaches one of them is kept.
func (a *attachment) dialByOthers(ctx context.Context, failed []*mapping, targets map[*mapping]proof.Target) {
	asks := make([]carried, len(failed))
	for _, w := range a.witnesses() {
		for i, m := range failed {
			asks[i] = carried{m, targets[m].Question()}
		}
		errs, err := w.carry(ctx, asks)
		if err != nil {
			a.log.Debug("asking a witness", "err", err)
			continue
		}
		through := false
		for i, m := range failed {
			if errs[i] == nil {
				m.port, through = yes(w.name, time.Now()), true
				a.tunnels[m.Type].outside = &w
			} else {
				m.port.reason += "; " + w.name + ": " + errs[i].Error()
			}
		}
		if through {
			a.log.Info("another reverse proxy is the witness", "peer", w.name)
			return
		}
	}
}

// probe is step (b): a nonce goes to the public address and comes back by the
// tunnel. Where this node cannot dial it a witness does; the one that did is
// returned, nil if it was this node itself. After a miss a witness is asked at
// the same time: what is in the way may be on this side alone, for strangers
// still get through.
func (a *attachment) probe(ctx context.Context, t *tunnel) (*witness, error) {
	m := t.canary
	public := way(a.s.key, a.s.key.ID(), m.Type, a.public(m))
	ask := func(ctx context.Context, w witness) (bool, error) {
		errs, err := w.carry(ctx, []carried{{m, a.s.canary.Question()}})
		if err != nil {
			a.log.Debug("asking a witness", "err", err)
			return false, err
		}
		return true, errs[0]
	}
	if t.outside != nil {
		if asked, err := ask(ctx, *t.outside); asked {
			return t.outside, err
		}
	}
	if len(m.lease.Signed) == 0 || t.misses == 0 && m.port.by == a.s.o.Name {
		_, err := a.s.canary.Probe(ctx, public)
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // the first that comes through ends the others
	defer cancel()
	others := a.witnesses()
	through := make(chan *witness, len(others))
	var wg sync.WaitGroup
	for _, w := range others {
		wg.Go(func() {
			if asked, err := ask(ctx, w); asked && err == nil {
				through <- &w
				cancel()
			}
		})
	}
	_, err := a.s.canary.Probe(ctx, public)
	if err == nil {
		cancel()
	}
	wg.Wait()
	if err != nil && len(through) > 0 {
		return <-through, nil
	}
	return nil, err
}
