package supervisor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/frpconf"
	"p2prc/supervisor/child"
	"p2prc/supervisor/control"
	"p2prc/supervisor/discovery"
	"p2prc/supervisor/failpoint"
	"p2prc/supervisor/nodes"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/netaddr"
	"p2prc/tables/peerapi"
)

const (
	certName = "p2prc" // the name in frps's certificate, which frpc checks

	// keepalive is the interval of the tunnel's own keepalive on both
	// ends: a dead path is noticed after it plus about 9 s (0.61-0.70.1), after
	// 39 s with frp's default of 30.
	keepalive = 5 * time.Second
)

// reverseProxy is the running role of the public host.
type reverseProxy struct {
	o       ReverseProxyOptions
	log     *slog.Logger
	started time.Time
	dir     *tables.Dir
	store   *tables.Store
	key     identity.Key
	nodes   *nodes.Registry
	book    *lease.Book
	hub     *hub
	gate    *gate
	frps    *frps
	certPEM []byte
	wake    chan struct{}
	ln      net.Listener // the node port

	discovery *discovery.Discovery
	down      map[tables.MappingKey]time.Time // since when; says alone uses it

	mu      sync.Mutex // guards the rest
	token   identity.Token
	reports map[identity.ID]*node
	self    tables.ReverseProxy
	traffic map[mappingOf]Traffic // as frps last listed it
	rates   map[identity.ID]*rate
	changed chan struct{} // closed when the rows were looked at again

	leave   context.CancelCauseFunc // ends the role
	telling sync.Mutex              // one Notify at a time
}

// ReverseProxy runs the role `--reverse-proxy` until ctx ends. A wanted stop
// returns nil, anything else a *Failure where a user can do something.
func ReverseProxy(ctx context.Context, o ReverseProxyOptions) error {
	started := time.Now()
	if !o.PublicAddress.IsValid() {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return fail(Other, "pass --public-address", "finding the public address: %w", err)
		}
		if o.PublicAddress, err = publicAddress(addrs); err != nil {
			return err
		}
	}
	if o.Name == "" {
		o.Name = nodeName()
	}
	if !o.ListenHost.IsValid() {
		o.ListenHost = netip.IPv4Unspecified()
	}
	path, err := findFRP("frps", o.FRPS)
	if err != nil {
		return err
	}
	dir, err := openDir(o.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	r := &reverseProxy{
		o: o, log: o.Log.With("component", "reverse proxy"), started: started, dir: dir,
		hub: newHub(), wake: make(chan struct{}, 1), reports: make(map[identity.ID]*node), rates: make(map[identity.ID]*rate),
		changed: make(chan struct{}),
	}
	version := make(chan error, 1)
	go func() {
		v, err := checkFRP(ctx, dir, "frps", path)
		r.mu.Lock()
		r.self.FRPVersion = v.String()
		r.mu.Unlock()
		version <- err
	}()
	err = r.load(path)
	if verr := <-version; verr != nil {
		err = verr // the better reason
	}
	if err != nil {
		return errors.Join(err, r.close(false))
	}
	return r.run(ctx)
}

// load reads or makes all that outlives a run, and takes the node port.
func (r *reverseProxy) load(frpsPath string) error {
	var err error
	if r.key, err = identity.LoadOrCreate(r.dir.Private("node.key")); err != nil {
		return stateFailure(err)
	}
	if r.nodes, err = nodes.Load(r.dir.Private("nodes.json"), nil); err != nil {
		return stateFailure(err)
	}
	if r.token, err = loadToken(r.dir, r.o.Token); err != nil {
		return stateFailure(err)
	}
	if r.store, err = tables.Open(r.dir, tables.Options{Log: r.log}); err != nil {
		return stateFailure(err)
	}
	if r.ln, err = net.Listen("tcp4", netip.AddrPortFrom(r.o.ListenHost, r.o.ListenPort).String()); err != nil {
		return fail(Other, listenHint(err), "opening the node port: %w", err)
	}
	r.o.ListenPort = netip.MustParseAddrPort(r.ln.Addr().String()).Port()
	if err := saveAddress(r.dir, netip.AddrPortFrom(r.o.PublicAddress, r.o.ListenPort)); err != nil {
		return stateFailure(err)
	}
	if err := r.openBook(); err != nil {
		return err
	}
	r.discovery, err = discovery.New(discovery.Options{
		Key: r.key, Dir: r.dir, Store: r.store, Filter: netaddr.Filter{Private: r.o.PrivateAddresses},
		Log: r.o.Log, Say: r.says,
		Proxy: &discovery.ProxyOptions{
			Address: netip.AddrPortFrom(r.o.PublicAddress, r.o.ListenPort), Join: r.o.Join, MeshToken: r.o.MeshToken,
			Beat: r.beat, Admitted: r.nodes.Admitted,
		},
	})
	if err != nil {
		return stateFailure(err)
	}
	return r.prepareFRPS(frpsPath)
}

// listenHint is what to do where the node port cannot be opened.
func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "--listen takes an address of this host; one that a provider's NAT gives it is for --public-address"
	case errors.Is(err, fs.ErrPermission):
		return "a port below 1024 needs root or CAP_NET_BIND_SERVICE; or pass another --listen"
	}
	return "end what uses the port, or pass another --listen"
}

func (r *reverseProxy) openBook() error {
	secret, err := loadSecret(r.dir.Private("guard.key"))
	if err != nil {
		return stateFailure(err)
	}
	r.book, err = lease.New(lease.Options{
		Proxy: r.key.ID(),
		Sign:  r.key.Sign,
		Verify: func(msg, sig []byte) bool {
			return identity.Verify(r.key.ID(), r.key.Public(), msg, sig) == nil
		},
		Secret: lease.Secret(secret),
		Pool:   r.o.Ports,
		Taken:  []uint16{r.o.FRPPort, r.o.ListenPort, r.o.HTTPPort, r.o.HTTPSPort},
		Open:   r.o.Open, MaxPorts: r.o.MaxPerNode,
		HTTPPort: r.o.HTTPPort, HTTPSPort: r.o.HTTPSPort,
		Guard: func(proto tables.Protocol, port uint16, leaseID string, key []byte) (io.Closer, error) {
			g, err := proof.Guard(proto, netip.AddrPortFrom(r.o.ListenHost, port), leaseID, key)
			if err != nil && errPortInUse(err) {
				return nil, fmt.Errorf("%w: %w", lease.ErrInUse, err)
			}
			return g, err
		},
		Commit:       r.commit,
		Reservations: r.store.Reservations(),
	})
	return err
}

// commit makes the book's reservations durable before anyone is told of them.
func (r *reverseProxy) commit(b tables.Batch) error {
	failpoint.Hit("proxy-book-committing")
	err := r.store.Commit(b)
	failpoint.Hit("proxy-book-committed")
	return err
}

func (r *reverseProxy) prepareFRPS(path string) error {
	certPEM, _, err := loadCert(r.dir, "frps", []string{certName}, nil)
	if err != nil {
		return stateFailure(err)
	}
	r.certPEM = certPEM
	gateCert, gateKey, err := loadCert(r.dir, "gate", nil, []netip.Addr{loopback})
	if err != nil {
		return stateFailure(err)
	}
	pair, err := tls.X509KeyPair(gateCert, gateKey)
	if err != nil {
		return stateFailure(fmt.Errorf("reading the gate's certificate: %w", err))
	}
	token, err := loadSecret(r.dir.Private("frp.token"))
	if err != nil {
		return stateFailure(err)
	}
	r.gate = &gate{cert: pair, nodes: r.nodes, book: r.book, log: r.o.Log.With("component", "gate"), closed: r.closed}
	r.frps = &frps{
		path: path, dir: r.dir, log: r.o.Log.With("component", "frps"), gate: r.gate, abort: r.o.Abort,
		backoff: new(child.Backoff), cert: certPEM,
		conf: frpconf.Server{
			BindAddr:  r.o.ListenHost,
			BindPort:  r.o.FRPPort,
			Token:     frpconf.Secret(token),
			CertFile:  r.dir.Private("frps.crt"),
			KeyFile:   r.dir.Private("frps.key"),
			Allow:     []frpconf.Range{{First: r.o.Ports.First, Last: r.o.Ports.Last}},
			HTTPPort:  r.o.HTTPPort,
			HTTPSPort: r.o.HTTPSPort,
			Keepalive: keepalive,
		},
		starting: func() {
			r.found(r.book.FRPSGone())
			r.review(time.Now()) // before anybody can be told that it was done
			r.poke()
		},
		back: func() {
			r.hub.broadcast(peerapi.Event{Kind: peerapi.EventFRPSUp})
			r.poke()
		},
		first: make(chan struct{}), fatal: make(chan error, 1),
	}
	return nil
}

// run brings the role up in order, waits, and takes it down in order.
func (r *reverseProxy) run(ctx context.Context) error {
	ctx, r.leave = context.WithCancelCause(ctx)
	defer r.leave(nil)
	base := context.WithoutCancel(ctx)
	childCtx, stopChild := context.WithCancel(base)
	defer stopChild()
	work, stopWork := context.WithCancel(base)
	defer stopWork()

	// Start: frps and the gate that it asks, then what the public may ask.
	children := newTree("frps", r.log)
	children.Add(service{"frps", r.frps.Serve})
	childrenDone := children.ServeBackground(childCtx)
	services := newTree("reverse proxy", r.log)
	servicesDone := services.ServeBackground(work)
	err := r.serve(ctx, services)
	if err == nil {
		select {
		case <-ctx.Done():
			err = wanted(ctx)
		case err = <-r.frps.fatal:
		}
	}

	// Stop: the nodes hear of it, the rows go, frps, the rest.
	leaving := context.Cause(ctx) == ErrLeave
	if !leaving {
		r.hub.broadcast(peerapi.Event{Kind: peerapi.EventStop})
		err = errors.Join(err, r.withdraw())
		failpoint.Hit("proxy-withdrawn")
	}
	r.frps.leaving.Store(leaving)
	stopChild()
	if !leaving {
		sayGoodbye(ctx, r.discovery, r.log, r.o.Abort)
	}
	<-childrenDone
	failpoint.Hit("proxy-frps-stopped")
	stopWork()
	<-servicesDone
	return errors.Join(err, r.close(leaving))
}

// serve returns once frps listens and the node port answers, or why not.
func (r *reverseProxy) serve(ctx context.Context, services *suture.Supervisor) error {
	ctl, err := control.Listen(r.dir.Private("control.sock"))
	if err != nil {
		return stateFailure(err)
	}
	select {
	case <-r.frps.first:
	case err := <-r.frps.fatal:
		ctl.Close()
		return err
	case <-ctx.Done():
		ctl.Close()
		return wanted(ctx)
	}
	if !r.frps.adopted { // before the gate lets anyone in
		r.found(r.book.FRPSGone())
	}
	services.Add(service{"gate", r.gate.Serve})
	failpoint.Hit("proxy-frps-ready")
	r.describe()
	if err := r.store.Commit(tables.Batch{Proxies: []tables.ReverseProxy{r.row()}}); err != nil {
		ctl.Close()
		return stateFailure(err)
	}
	failpoint.Hit("proxy-row-committed")
	services.Add(service{"tables", r.store.Serve})
	services.Add(service{"watch", r.watch})
	services.Add(service{"control", func(ctx context.Context) error { return control.Serve(ctx, ctl, r.controls()) }})
	services.Add(peerapi.NewPort(r.ln, peerapi.PortOptions{
		Key: r.key, Info: r.info, API: r, Tokens: r.tokens, Enrol: r.enrol, Protocols: r.discovery.Protocols(),
		Log: r.o.Log.With("component", "port"),
	}))
	services.Add(service{"discovery", r.discovery.Serve})
	r.notify(ProxyReady{
		Row: r.row(), JoinString: r.joinString(), Open: r.o.Open, Adopted: r.frps.adopted,
		Took: time.Since(r.started), Warnings: r.warnings(),
	})
	return nil
}

func (r *reverseProxy) close(left bool) error {
	if r.ln != nil {
		r.ln.Close() // closed already where it was served
	}
	if r.gate != nil && r.gate.ln != nil {
		r.gate.ln.Close()
	}
	if r.book != nil {
		r.book.Close()
	}
	if r.store == nil {
		return nil
	}
	return r.store.Close(left)
}

func (r *reverseProxy) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reverseProxy) notify(n Notice) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.o.Notify(n)
}

func (r *reverseProxy) warnings() []string {
	var out []string
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if w := overlap(r.o.Ports, string(b)); w != "" {
			out = append(out, w)
		}
	}
	if !netaddr.Public(r.o.PublicAddress) {
		out = append(out, fmt.Sprintf("%s is no address that strangers on the internet can dial", r.o.PublicAddress))
	}
	return slices.Clip(out)
}
