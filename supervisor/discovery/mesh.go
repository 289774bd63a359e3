package discovery

import (
	"context"
	"net"
	"net/netip"
	gosync "sync"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/mesh"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
)

const (
	maxFetches = 256 // members that may wait to be synchronized with
	joinEvery  = 10 * time.Second
	joinMost   = 5 * time.Minute
)

// byMesh stands for whoever sent a record by the mesh.
const byMesh identity.ID = "mesh"

// syncConn is a connection to a node that proved its key.
type syncConn struct {
	net.Conn
	peer identity.ID
}

func (d *Discovery) newMesh() error {
	p := d.o.Proxy
	m, err := mesh.New(mesh.Options{
		Key: d.o.Key, Address: p.Address, Token: p.MeshToken,
		Record: func() []byte {
			if r := d.set.Get(d.o.Key.ID(), record.SubjectProxy, time.Now()); r != nil {
				return []byte(r.Raw())
			}
			return nil
		},
		Vouched: d.vouched,
		Known:   d.knownProxies,
		Dial:    d.o.Filter.Dialer().DialContext,
		Deliver: func(raw []byte) bool {
			return len(d.set.Merge(time.Now(), byMesh, raw).Changed) > 0
		},
		Shorten: record.ShortBeat, Lengthen: record.LongBeat,
		Digest: func() []byte {
			sum := d.set.Sum()
			return sum[:]
		},
		Differ: func(id identity.ID) {
			select {
			case d.fetches <- id:
			default: // it will differ at the next round as well
			}
		},
		Event: func(e mesh.Event) {
			d.log.Info("a reverse proxy "+string(e.Kind), "peer", e.ID)
			d.meter.soon(e.ID)
		},
		Log: d.o.Log.With("component", "mesh"),
	})
	d.mesh = m
	return err
}

// vouched says whether somebody may be in the mesh: its own signed record says
// that it is a reverse proxy there, or the user does.
func (d *Discovery) vouched(id identity.ID, at netip.AddrPort) bool {
	if a, ok := d.addressOf(id); ok && a == at {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seeds[mesh.Seed{ID: id, At: at}]
}

func (d *Discovery) knownProxies() []mesh.Seed {
	var seeds []mesh.Seed
	for _, p := range d.set.Proxies(time.Now()) {
		if p.Record.Owner != d.o.Key.ID() {
			seeds = append(seeds, mesh.Seed{ID: p.Record.Owner, At: p.Proxy.NodeAddress()})
		}
	}
	return seeds
}

// company is whether there is anybody for the mesh: it wakes up ten times a
// second, which is most of what an idle reverse proxy that is alone would cost.
type company struct {
	once  gosync.Once
	there chan struct{} // closed once there is
}

func (c *company) come() { c.once.Do(func() { close(c.there) }) }

func (c *company) alone() bool {
	select {
	case <-c.there:
		return false
	default:
		return true
	}
}

// gather takes part in the mesh once there is another reverse proxy.
func (d *Discovery) gather(ctx context.Context) error {
	select {
	case <-d.there:
		return d.mesh.Serve(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// meet answers another reverse proxy, maybe the first that comes.
func (d *Discovery) meet(ctx context.Context, peer peerapi.Peer, conn net.Conn, admit func() error) {
	d.come()
	select {
	case <-d.mesh.Ready():
		d.mesh.Handle(ctx, peer, conn, admit)
	case <-ctx.Done():
	case <-time.After(syncWait): // discovery is not served yet, or not any more
	}
}

// fetch synchronizes with members that know something else, one at a time.
func (d *Discovery) fetch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case id := <-d.fetches:
			at, ok := d.addressOf(id)
			if !ok {
				continue
			}
			c := contact{Seed: Seed{at.Addr().String(), at.Port()}, pin: id, named: true}
			if err := d.reconcile(ctx, c); err != nil && ctx.Err() == nil {
				d.log.Debug("fetching records", "err", err, "peer", id)
			}
		}
	}
}

// join finds out who answers at the addresses that the user gave, and goes on
// until it has been let in by each of them once.
func (d *Discovery) join(ctx context.Context) error {
	open := d.o.Proxy.Join
	for pause := joinEvery; ; pause = min(2*pause, joinMost) {
		var again []Seed
		for _, s := range open {
			if err := d.joinOne(ctx, s); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				d.log.Warn("joining the mesh", "peer", s.String(), "err", err)
				again = append(again, s)
			}
		}
		if open = again; len(open) == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (d *Discovery) joinOne(ctx context.Context, s Seed) error {
	conn, id, err := peerapi.DialProtocol(ctx, peerapi.DialOptions{
		Key: d.o.Key, ALPN: peerapi.ALPNMesh, Host: s.Host, Port: s.Port, Timeout: syncWait,
	})
	if err != nil {
		return err
	}
	at := netip.MustParseAddrPort(conn.RemoteAddr().String())
	conn.Close()
	if id == d.o.Key.ID() {
		return errSelf
	}
	seed := mesh.Seed{ID: id, At: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}
	d.mu.Lock()
	d.seeds[seed] = true
	d.mu.Unlock()
	d.mesh.Join([]mesh.Seed{seed})
	return nil
}
