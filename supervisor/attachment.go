package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/supervisor/child"
	"p2prc/supervisor/failpoint"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// attachment is a server's side of one reverse proxy: the link to it, the frpc
// that logs in there, and every mapping's lease and proof. A server has one for
// each proxy that it uses. Its pass (pass.go) is the only goroutine that touches
// maps, frpc and the fields below them.
type attachment struct {
	s    *server
	up   Upstream
	log  *slog.Logger
	link *link
	wake chan struct{}

	slot   int    // tells its frpc's files from those of the others
	chosen bool   // by p2prc, not by the user
	detach func() // ends serve for this one alone

	maps    []*mapping // first the node's own port
	version uint64     // of the server's list of mappings that maps stands for
	frpc    *frpc
	recalls map[string]tables.Mapping // rows of an earlier run, by name
	unused  []string                  // leases of an earlier run that nobody wants any more
	known   tables.ReverseProxy       // the proxy's row as last committed
	frp     *peerapi.FRP              // what the proxy said frpc needs; nil before the first lease
	written *configured               // what the running frpc was given; nil: not known
	learnt  <-chan error              // a write of what the proxy granted, under way; nil: none

	due     pace
	tunnels map[tables.Protocol]*tunnel
	jump    jumpWatch
	suspect bool // the clock jumped: every row waits for its renewal
	told    bool // the first Mapped was sent
	fresh   bool // frpc changed: the rows that are up were proved anew
	gone    bool // mappings were dropped, and the user was not shown yet

	unclaimed    bool   // the mappings or their leases are others than the world was told
	unconfigured string // why frpc does not have the configuration that it should
	renewing     bool   // leases are left to be renewed by further reports

	listening bool // link is in the tree, as linked
	linked    suture.ServiceToken
}

// attach makes the attachment of one reverse proxy.
func (s *server) attach(up Upstream, slot int) (*attachment, error) {
	logOf := func(component string) *slog.Logger { return s.o.Log.With("component", component, "proxy", up.String()) }
	a := &attachment{
		s: s, up: up, slot: slot, log: logOf("server"),
		wake:    make(chan struct{}, 1),
		tunnels: make(map[tables.Protocol]*tunnel),
		recalls: make(map[string]tables.Mapping),
	}
	name := "frpc"
	if slot > 0 {
		name += "-" + strconv.Itoa(slot+1)
	}
	a.frpc = &frpc{path: s.frpc, name: name, dir: s.dir, log: logOf("frpc"), backoff: new(child.Backoff)}
	a.frpc.vitals.version(s.frpcVersion)
	known := s.memory.at(up.Host, up.Port)
	pin := known.Pin
	if up.Pin != "" {
		if pin != "" && pin != up.Pin {
			return nil, refusal(up.String(), s.key.ID(), &identity.PinError{Want: pin, Got: up.Pin})
		}
		pin = up.Pin
	}
	a.link = &link{
		client: peerapi.NewClient(peerapi.ClientOptions{
			Key: s.key, Host: up.Host, Port: up.Port, Pin: pin, Token: up.Token, Join: known.Pin == "", Name: s.o.Name, Timeout: callWait,
		}),
		backoff: new(child.Backoff),
		log:     logOf("link"),
		wake:    a.poke,
		ours:    s.wants,
		noWait:  s.o.NoWait,
		knocks: func(proxy netip.AddrPort) {
			s.notify(Knocking{ID: s.key.ID(), Proxy: proxy})
		},
	}
	return a, nil
}

// poke makes the pass run now.
func (a *attachment) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// proxy is how the user named the reverse proxy.
func (a *attachment) proxy() string { return a.up.String() }

// admitted reports whether the proxy at this address ever let this node in.
func (a *attachment) admitted() bool { return a.s.memory.at(a.up.Host, a.up.Port).Pin != "" }

// proxyID is who the proxy is, empty before it was ever reached.
func (a *attachment) proxyID() identity.ID {
	hello, _ := a.link.state()
	if hello.Proxy.NodeID != "" {
		return hello.Proxy.NodeID
	}
	return a.s.memory.at(a.up.Host, a.up.Port).Pin
}

// contact makes the first connection. It may take as long as it needs only
// where this node has to knock and may wait. The error says that there is no
// use in going on with this proxy.
func (a *attachment) contact(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(firstContact, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	knocks := a.link.knocks
	a.link.knocks = func(proxy netip.AddrPort) {
		limit.Stop()
		knocks(proxy)
	}
	err := a.link.open(ctx)
	if err == nil || ctx.Err() != nil && context.Cause(ctx) != context.DeadlineExceeded {
		return nil
	}
	if context.Cause(ctx) == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v", firstContact)
	}
	if f := refusal(a.proxy(), a.s.key.ID(), err); f.Kind != ProxyUnreachable || !a.admitted() {
		return f
	}
	a.s.notify(Retrying{Proxy: a.proxy(), Err: err})
	return nil
}

// recall takes up the rows that an earlier run left of this proxy: the same
// mapping stays one row.
func (a *attachment) recall() {
	proxy := a.proxyID()
	for _, row := range a.s.store.Proxies() {
		if row.NodeID == proxy {
			a.link.recall(row)
		}
	}
	for _, row := range a.s.store.Mappings() {
		if row.NodeID == a.s.key.ID() && row.ProxyID == proxy {
			a.recalls[row.Name] = row
		}
	}
}

// takeMaps brings maps in line with what the server is to map: what stays
// keeps its lease and proof, what is new has none yet, and what is gone loses
// its row and gives its lease back.
func (a *attachment) takeMaps(ctx context.Context) error {
	want, version, err := a.s.mapped(a.version)
	if err != nil || want == nil {
		return err
	}
	old := make(map[string]*mapping, len(a.maps))
	for _, m := range a.maps {
		old[m.Name] = m
	}
	maps := make([]*mapping, 0, len(want))
	tunnels := make(map[tables.Protocol]*tunnel)
	for _, w := range want {
		m := old[w.Name]
		if m != nil && m.same(w) {
			delete(old, w.Name)
		} else {
			m = &mapping{Map: w.Map, node: w.node, live: w.live}
			if row, ok := a.recalls[w.Name]; ok && row.Type == w.Type {
				m.row, m.wasUp = row, !row.VerifiedAt.IsZero()
				if m.node && w.Type == tables.TCP {
					m.Local = row.LocalAddress // until a port is chosen
				}
			}
			a.due.reserve, a.due.witness, a.due.local = time.Time{}, time.Time{}, time.Time{}
		}
		delete(a.recalls, w.Name)
		maps = append(maps, m)
		if m.node {
			tunnels[w.Type] = a.tunnels[w.Type]
			if tunnels[w.Type] == nil || tunnels[w.Type].canary != m {
				tunnels[w.Type] = &tunnel{canary: m}
			}
		}
	}
	a.maps, a.tunnels, a.version, a.unclaimed = maps, tunnels, version, true
	names := make([]string, 0, len(old))
	for name := range old {
		names = append(names, name)
	}
	err = a.unmap(ctx, old)
	a.s.board.take(a, version, names)
	a.gone = a.gone || len(names) > 0
	return err
}

// unmap takes the rows of mappings that are gone out of the table, those that
// an earlier run left included, and gives the leases back. The next configure
// takes them out of frpc.
func (a *attachment) unmap(ctx context.Context, gone map[string]*mapping) error {
	var b tables.Batch
	var leases []string
	now := make(map[string]*mapping, len(a.maps))
	for _, m := range a.maps {
		now[m.Name] = m
	}
	for name, m := range gone {
		if o := now[name]; o != nil {
			o.row.Serial = m.row.Serial // the same name leads elsewhere: the row goes on
			if m.lease != nil && o.Type != m.Type {
				leases = append(leases, m.lease.ID)
			}
			continue
		}
		b.DropMappings = append(b.DropMappings, tables.MappingKey{ProxyID: a.proxyID(), NodeID: a.s.key.ID(), Name: name})
		if m.lease != nil {
			leases = append(leases, m.lease.ID)
		}
	}
	for _, row := range a.recalls {
		b.DropMappings = append(b.DropMappings, row.Key())
		if row.LeaseID != "" { // else it never got that far
			a.unused = append(a.unused, row.LeaseID)
		}
	}
	clear(a.recalls)
	if err := a.s.store.Commit(b); err != nil {
		return stateFailure(fmt.Errorf("dropping rows: %w", err))
	}
	if len(leases) > 0 {
		a.configure(ctx) // frps lets go of the ports before others may have them
		a.release(ctx, leases)
	}
	return nil
}

// stop ends the attachment in order: the rows, the leases, frpc. When p2prc
// only leaves, all of them stay.
func (a *attachment) stop(ctx context.Context, leaving bool) error {
	if err := a.remembered(); err != nil {
		a.log.Warn("remembering the leases", "err", err)
	}
	if leaving {
		bye, cancel := context.WithTimeout(ctx, byeTimeout)
		defer cancel()
		if _, err := a.link.client.Report(bye, peerapi.ReportRequest{Left: true}); err != nil {
			a.log.Warn("telling the reverse proxy that p2prc leaves", "err", err)
		}
		a.frpc.leave()
		return nil
	}
	err := a.withdraw()
	failpoint.Hit("server-withdrawn")
	var leases []string
	for _, m := range a.maps {
		if m.lease != nil {
			leases = append(leases, m.lease.ID)
		}
	}
	a.release(ctx, leases)
	failpoint.Hit("server-released")
	err = errors.Join(err, a.frpc.stop(ctx))
	failpoint.Hit("server-frpc-stopped")
	return err
}

// withdraw takes this node's rows at the proxy out of the table.
func (a *attachment) withdraw() error {
	var b tables.Batch
	proxy := a.proxyID()
	for _, m := range a.s.store.Mappings() {
		if m.NodeID == a.s.key.ID() && m.ProxyID == proxy {
			b.DropMappings = append(b.DropMappings, m.Key())
		}
	}
	if err := a.s.store.Commit(b); err != nil {
		return fmt.Errorf("withdrawing the rows: %w", err)
	}
	return nil
}

// releaseUnused gives back what an earlier run left, once the proxy has answered
// and the frpc of that run has been told: it may still have the ports open. By
// then one of them may be wanted again.
func (a *attachment) releaseUnused(ctx context.Context) {
	if len(a.unused) == 0 || a.frp == nil || a.unconfigured != "" {
		return
	}
	held := make(map[string]bool, len(a.maps))
	for _, m := range a.maps {
		held[m.row.LeaseID] = true
		if m.lease != nil {
			held[m.lease.ID] = true
		}
	}
	a.release(ctx, slices.DeleteFunc(a.unused, func(id string) bool { return held[id] }))
	a.unused = nil
}

// release gives leases back; the reservations stay. It tries so also where the
// link is down: it may be about to come back. A proxy that cannot be reached
// finds out by itself.
func (a *attachment) release(ctx context.Context, ids []string) {
	ctx, cancel := context.WithTimeout(ctx, byeTimeout+time.Duration(len(ids)/maxWants)*byeTimeout/4)
	defer cancel()
	for batch := range slices.Chunk(ids, maxWants) {
		if err := a.link.client.Release(ctx, peerapi.ReleaseRequest{LeaseIDs: batch}); err != nil {
			a.log.Info("giving the leases back", "err", err)
			return
		}
	}
}

// lookAt asks for the services of all mappings. The answers are shared by all
// attachments: a service on another host feels each look.
func (s *server) lookAt(ctx context.Context, targets []proof.Service) []error {
	s.looking.Lock()
	defer s.looking.Unlock()
	return s.services.Check(ctx, targets)
}
