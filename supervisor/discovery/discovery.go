// Package discovery lets a node know which reverse proxies and mappings there
// are, and makes its own known: it keeps the set of records, talks to other nodes
// by the mesh and by sync, dials reverse proxies itself before it believes in
// them, and shows what it learned in the tables.
//
// Not here: what a record says and which is newer (tables/record), how they
// travel (tables/sync, tables/mesh), and what this node has to say (package
// supervisor).
package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	gosync "sync"
	"sync/atomic"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/mesh"
	"p2prc/tables/netaddr"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
	"p2prc/tables/sync"
)

// Seed is where a node may be found, by its address alone.
type Seed struct {
	Host string // IPv4 address or name
	Port uint16
}

func (s Seed) String() string { return net.JoinHostPort(s.Host, fmt.Sprint(s.Port)) }

// Near is a node that this one knows by itself.
type Near struct {
	Seed
	ID identity.ID // empty: not known yet
}

// Options describes a node. Key, Dir and Store must be set.
type Options struct {
	Key    identity.Key
	Dir    *tables.Dir
	Store  *tables.Store
	Filter netaddr.Filter // of addresses that others name
	Log    *slog.Logger

	// Say is all that this node says of itself, beside its heartbeat. It is asked
	// again after each Changed, and now and then.
	Say func() []record.Body

	// Near are the reverse proxies that this node has to do with anyway: it
	// attaches to them first.
	Near func() []Near

	// Proxy makes this node part of the mesh; nil: it is not a reverse proxy.
	Proxy *ProxyOptions
}

// ProxyOptions is what only a reverse proxy has.
type ProxyOptions struct {
	Address   netip.AddrPort // where others dial this node
	Join      []Seed         // ways into the mesh
	MeshToken identity.Token // of a private mesh; none: it is open
	Beat      func() record.Heartbeat
	// Admitted says whether a node may have ports here: in a private mesh only
	// such nodes and members may see the records.
	Admitted func(identity.ID) bool
}

// Discovery is one node's part of it.
type Discovery struct {
	o      Options
	log    *slog.Logger
	set    *record.Set
	keep   *record.Keep
	syncer *sync.Syncer
	mesh   *mesh.Mesh // nil: not a reverse proxy
	company
	rows  *rows
	meter *meter

	saying  gosync.Mutex // guards own and bye
	own     *record.Own
	bye     bool          // Goodbye was said: nothing follows
	said    chan struct{} // Say has changed
	fetches chan identity.ID
	current atomic.Bool // other nodes were asked

	mu       gosync.Mutex // guards what follows
	seeds    map[mesh.Seed]bool
	added    []Seed // by the user
	attached [attachments]contact
}

// New reads what an earlier run knew. Serve begins.
func New(o Options) (*Discovery, error) {
	log := o.Log.With("component", "discovery")
	signer, err := record.NewSigner(record.SignerOptions{Key: o.Key, Path: o.Dir.Private("serial"), Log: log})
	if err != nil {
		return nil, fmt.Errorf("preparing to sign records: %w", err)
	}
	d := &Discovery{
		o:    o,
		log:  log,
		set:  record.New(record.Options{Self: signer}),
		said: make(chan struct{}, 1), fetches: make(chan identity.ID, maxFetches),
		seeds:   make(map[mesh.Seed]bool),
		company: company{there: make(chan struct{})},
	}
	d.keep = &record.Keep{Set: d.set, Path: o.Dir.Private("known.records"), Now: time.Now, Log: log}
	if err := d.keep.Load(); err != nil {
		return nil, err
	}
	if d.own, err = record.NewOwn(d.set); err != nil {
		return nil, err
	}
	if d.added, err = loadSeeds(o.Dir.Private(seedsFile)); err != nil {
		return nil, err
	}
	d.meter = newMeter(d)
	d.rows = newRows(d)
	so := sync.Options{Set: d.set, Self: o.Key.ID(), Relay: o.Proxy != nil, Ahead: d.ahead}
	if o.Proxy != nil {
		so.Allow = d.allow
		if err := d.newMesh(); err != nil {
			return nil, err
		}
		d.meter.packet = d.mesh.Heard
	}
	d.syncer = sync.New(so)
	return d, nil
}

// Protocols are what this node answers on its public port.
func (d *Discovery) Protocols() map[string]peerapi.Protocol {
	p := map[string]peerapi.Protocol{peerapi.ALPNSync: d.syncer.Speak}
	if d.mesh != nil {
		p[peerapi.ALPNMesh] = d.meet
	}
	return p
}

// Changed says that Say has something else to say.
func (d *Discovery) Changed() { wake(d.said) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Serve works until ctx ends.
func (d *Discovery) Serve(ctx context.Context) error {
	tree := suture.New("discovery", suture.Spec{
		EventHook: func(e suture.Event) { d.log.Warn("a service ended", "err", e.String()) },
	})
	tree.Add(service{"known records", d.keep.Serve})
	tree.Add(d.rows)
	tree.Add(d.meter)
	tree.Add(service{"records of this node", d.speak})
	if d.mesh != nil {
		if len(d.o.Proxy.Join) > 0 || len(d.knownProxies()) > 0 {
			d.come()
		}
		watch := d.set.Watch(watched) // before this node says its first word
		defer watch.Close()
		tree.Add(service{"mesh", d.gather})
		tree.Add(service{"mesh records", func(ctx context.Context) error { return d.broadcast(ctx, watch) }})
		tree.Add(service{"fetching", d.fetch})
		if len(d.o.Proxy.Join) > 0 {
			tree.Add(service{"joining", d.join})
		}
	} else {
		for n := range attachments {
			tree.Add(service{"sync", func(ctx context.Context) error { return d.attach(ctx, n) }})
		}
	}
	return tree.Serve(ctx)
}

// service gives a function the shape that the tree wants.
type service struct {
	name  string
	serve func(context.Context) error
}

func (s service) Serve(ctx context.Context) error { return s.serve(ctx) }

func (s service) String() string { return s.name }

// speak keeps what this node says of itself up to date.
func (d *Discovery) speak(ctx context.Context) error {
	var beat <-chan time.Time
	if d.o.Proxy != nil {
		ticker := time.NewTicker(record.BeatEvery)
		defer ticker.Stop()
		beat = ticker.C
		d.beat()
	}
	renew := time.NewTicker(time.Minute) // Own renews what has lived half its life
	defer renew.Stop()
	for {
		d.say()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.said:
		case <-renew.C:
		case <-beat:
			d.beat()
			continue
		}
	}
}

func (d *Discovery) say() {
	if d.o.Say == nil {
		return
	}
	d.saying.Lock()
	defer d.saying.Unlock()
	if d.bye {
		return
	}
	if err := d.own.Say(time.Now(), d.o.Say()...); err != nil {
		d.log.Warn("saying what this node is", "err", err)
	}
}

func (d *Discovery) beat() {
	d.saying.Lock()
	defer d.saying.Unlock()
	if d.bye {
		return
	}
	if err := d.own.Beat(time.Now(), d.o.Proxy.Beat()); err != nil {
		d.log.Warn("giving a sign of life", "err", err)
	}
}

// Goodbye takes everything back that this node said, and returns once all know
// whom it has to do with, or else another node, or ctx ends. Call it before
// Serve is ended.
func (d *Discovery) Goodbye(ctx context.Context) error {
	d.saying.Lock()
	d.bye = true
	err := d.own.Goodbye(time.Now())
	d.saying.Unlock()
	if err != nil {
		return err
	}
	close, others := d.nearest()
	told := make(chan error, len(close))
	for _, c := range close {
		go func() { told <- d.reconcile(ctx, c) }()
	}
	err = errors.New("there is nobody to tell")
	for range close {
		if e := <-told; e == nil || err != nil {
			err = e
		}
	}
	for _, c := range others {
		if err == nil || ctx.Err() != nil {
			break
		}
		err = d.reconcile(ctx, c)
	}
	return err
}

// ahead is told by sync.
func (d *Discovery) ahead(peer identity.ID, by time.Duration) {
	if by.Abs() > record.MaxSkew/2 {
		d.log.Warn("the clock of a node differs from this host's: records may be refused", "peer", peer, "took", by)
	}
}

// allow says whether a node may have the records.
func (d *Discovery) allow(peer peerapi.Peer) error {
	p := d.o.Proxy
	if p.MeshToken.Zero() || p.Admitted(peer.ID) {
		return nil
	}
	for _, m := range d.mesh.Members() {
		if m.ID == peer.ID {
			return nil
		}
	}
	return errors.New("this mesh is private")
}
