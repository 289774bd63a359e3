package supervisor

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// How p2prc chooses reverse proxies where that is left to it.
const (
	chosenProxies = 2                     // one active, one standing by
	chooseEvery   = 15 * time.Second      // to look for a better or missing one
	chooseWait    = 5 * time.Second       // for other nodes to say what there is, at the start
	avoidFor      = 10 * time.Minute      // a proxy that refused
	uselessFor    = 2 * time.Minute       // and another one is taken in its place
	latencyStep   = 50 * time.Millisecond // closer is no better: then load decides
)

// choice remembers which reverse proxies are not to be chosen for a while.
type choice struct {
	mu    sync.Mutex // guards until
	until map[identity.ID]time.Time
}

func (c *choice) avoid(id identity.ID, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil {
		c.until = make(map[identity.ID]time.Time)
	}
	c.until[id] = until
}

func (c *choice) avoided(id identity.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.until[id])
}

// candidate is a reverse proxy that would let this node in, as far as can be told.
type candidate struct {
	discovery.Known
	before bool   // it did so before: ports are reserved there
	why    string // it would
}

// candidates are the reverse proxies to choose from, best first: those that this
// node has dialled and that live, by latency in coarse steps, then those where it
// has been before, then by load, then by chance.
func (s *server) candidates() []candidate {
	var out []candidate
	for _, p := range s.discovery.Proxies() {
		c := candidate{Known: p, before: s.memory.knows(p.Record.Owner)}
		switch {
		case c.before:
			c.why = "it let this node in before"
		case p.Proxy.Admission == tables.AdmitOpen:
			c.why = "it is open to all"
		case !s.o.Token.Zero():
			c.why = "the token may let this node in"
		default:
			continue
		}
		if p.Verified && p.Free() > 0 && !s.choice.avoided(p.Record.Owner) {
			out = append(out, c)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(a.Latency/latencyStep, b.Latency/latencyStep),
			-cmp.Compare(btoi(a.before), btoi(b.before)),
			cmp.Compare(a.Load(), b.Load()),
		)
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// upstream is how the candidate is reached.
func (s *server) upstream(c candidate) Upstream {
	at := c.Proxy.NodeAddress()
	return Upstream{Host: at.Addr().String(), Port: at.Port(), Pin: c.Record.Owner, Token: s.o.Token}
}

// firstChoice asks other nodes what there is and chooses. Where nobody is known,
// waiting does not help; else somebody may just be away.
func (s *server) firstChoice(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, chooseWait)
	defer cancel()
	_, err := s.discovery.Update(asking)
	if errors.Is(err, discovery.ErrNobody) && len(s.standing.all()) == 0 {
		return fail(ProxyUnreachable, "name a first node: p2prc --add-server HOST", "choosing a reverse proxy: %w", err)
	}
	s.choose(ctx, func(*attachment) {})
	if len(s.standing.all()) == 0 {
		err = cmp.Or(err, errors.New("none of the known reverse proxies answers and would let this node in"))
		if s.o.NoWait {
			return fail(ProxyUnreachable, "p2prc --view-rps lists them; leave --no-wait out to wait for one", "choosing a reverse proxy: %w", err)
		}
		s.notify(Retrying{Proxy: "auto", Err: err})
	}
	return nil
}

// choose takes the best reverse proxies that are not in use while there are too
// few, and lets go of one that has been of no use while another would be.
func (s *server) choose(_ context.Context, launch func(*attachment)) {
	all := s.standing.all()
	var free []candidate
	for _, c := range s.candidates() {
		if !slices.ContainsFunc(all, func(a *attachment) bool { return a.proxyID() == c.Record.Owner }) {
			free = append(free, c)
		}
	}
	for len(all) < chosenProxies && len(free) > 0 {
		c := free[0]
		free = free[1:]
		a, err := s.attach(s.upstream(c), s.slot(all))
		if err != nil {
			s.log.Warn("choosing a reverse proxy", "peer", c.Record.Owner, "err", err)
			s.choice.avoid(c.Record.Owner, time.Now().Add(avoidFor))
			continue
		}
		a.chosen = true
		all = append(all, a)
		s.standing.add(a)
		s.notify(Chosen{
			Name: c.Proxy.Name, Proxy: a.up.String(), Latency: c.Latency, Load: c.Load(), Free: c.Free(),
			Why: c.why, Of: len(free) + 1, Standby: len(all) > 1,
		})
		launch(a)
	}
	if len(free) == 0 {
		return
	}
	for _, a := range all {
		if a.chosen && s.standing.uselessSince(a) > uselessFor {
			s.log.Warn("another reverse proxy takes the place of one that does not work", "proxy", a.proxy())
			s.choice.avoid(a.proxyID(), time.Now().Add(avoidFor))
			a.detach()
		}
	}
}

// slot is a number that no attachment has: frpc's files are named after it.
func (s *server) slot(taken []*attachment) int {
	for n := 0; ; n++ {
		if !slices.ContainsFunc(taken, func(a *attachment) bool { return a.slot == n }) {
			return n
		}
	}
}
