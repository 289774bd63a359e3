package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/supervisor/child"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// Bounds on the server's own work.
const (
	firstContact = 4 * time.Second // a proxy that never admitted this node: exit 5 within 5 s
	callWait     = 5 * time.Second // one call of the proxy's node API
	byeTimeout   = time.Second     // telling the proxy that this node stops
	stopTimeout  = 4 * time.Second // all of an orderly stop; 5 s are promised
)

// server is the running role of a node behind NAT. Its pass (pass.go) is the
// only goroutine that touches maps, frpc and the fields below them.
type server struct {
	o       ConnectOptions
	log     *slog.Logger
	started time.Time
	dir     *tables.Dir
	store   *tables.Store
	key     identity.Key
	memory  *memory
	link    *link
	wake    chan struct{}
	tree    *suture.Supervisor

	maps     []*mapping // first the node's own port
	port     *ownPort
	frpc     *frpc
	canary   *proof.Canary
	services *proof.Services
	known    tables.ReverseProxy // the proxy's row as last committed
	frp      *peerapi.FRP        // what the proxy said frpc needs; nil before the first lease

	due     pace
	tunnels map[tables.Protocol]*tunnel
	jump    jumpWatch
	suspect bool // the clock jumped: every row waits for its renewal
	told    bool // the first Mapped was sent
	fresh   bool // frpc changed: the rows that are up were proved anew
}

// Connect runs the role `--connect-reverse-proxy` until ctx ends. A wanted
// stop returns nil, anything else a *Failure where a user can do something.
func Connect(ctx context.Context, o ConnectOptions) error {
	s, err := newServer(o)
	if err != nil {
		return err
	}
	defer s.dir.Close()
	return s.run(ctx)
}

func newServer(o ConnectOptions) (*server, error) {
	s := &server{
		o: o, log: o.Log.With("component", "server"), started: time.Now(),
		wake:     make(chan struct{}, 1),
		canary:   proof.NewCanary(),
		services: proof.NewServices(),
		tunnels:  make(map[tables.Protocol]*tunnel),
	}
	if o.Name == "" {
		s.o.Name = nodeName()
	}
	if err := s.declare(); err != nil {
		return nil, err
	}
	dir, err := openDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s.dir = dir
	if err := s.load(); err != nil {
		dir.Close()
		return nil, err
	}
	return s, nil
}

// declare lists the mappings: the node's own port, the UDP canary where there
// is a UDP mapping, and what the user asked for.
func (s *server) declare() error {
	s.maps = []*mapping{{Map: Map{Name: ownName, Type: tables.TCP}, node: true}}
	s.tunnels[tables.TCP] = &tunnel{canary: s.maps[0]}
	seen := map[string]bool{ownName: true, ownUDPName: true}
	for _, m := range s.o.Maps {
		if err := tables.CheckName(m.Name); err != nil {
			return fail(BadUsage, "", "--map: %w", err)
		}
		if seen[m.Name] {
			return fail(BadUsage, "give each mapping a name of its own: web=3000", "--map: the name %q is taken", m.Name)
		}
		seen[m.Name] = true
		s.maps = append(s.maps, &mapping{Map: m})
		if m.Type == tables.UDP && s.tunnels[tables.UDP] == nil {
			c := &mapping{Map: Map{Name: ownUDPName, Type: tables.UDP}, node: true}
			s.maps = append(s.maps, c)
			s.tunnels[tables.UDP] = &tunnel{canary: c}
		}
	}
	return nil
}

// load reads what an earlier run left and finds frpc.
func (s *server) load() error {
	var err error
	if s.key, err = identity.LoadOrCreate(s.dir.Private("node.key")); err != nil {
		return stateFailure(err)
	}
	if s.memory, err = loadMemory(s.dir.Private("proxies.json")); err != nil {
		return stateFailure(err)
	}
	if s.store, err = tables.Open(s.dir, tables.Options{Log: s.log}); err != nil {
		return stateFailure(err)
	}
	path, err := findFRP("frpc", s.o.FRPC)
	if err != nil {
		return err
	}
	s.frpc = &frpc{path: path, dir: s.dir, log: s.log.With("component", "frpc"), backoff: new(child.Backoff)}
	known := s.memory.at(s.o.Host, s.o.Port)
	pin, token := known.Pin, s.o.Token
	if s.o.Pin != "" {
		if pin != "" && pin != s.o.Pin {
			return refusal(s.proxy(), s.key.ID(), &identity.PinError{Want: pin, Got: s.o.Pin})
		}
		pin = s.o.Pin
	}
	s.link = &link{
		client: peerapi.NewClient(peerapi.ClientOptions{
			Key: s.key, Host: s.o.Host, Port: s.o.Port, Pin: pin, Token: token, Join: known.Pin == "", Name: s.o.Name, Timeout: callWait,
		}),
		backoff: new(child.Backoff),
		log:     s.log.With("component", "link"),
		wake:    s.poke,
		noWait:  s.o.NoWait,
		knocks: func(proxy netip.AddrPort) {
			s.o.Notify(Knocking{ID: s.key.ID(), Proxy: proxy})
		},
	}
	return s.recall(known.Pin)
}

// recall takes up the rows that an earlier run left: the same mapping at the
// same proxy stays one row. Those that are no longer mapped go.
func (s *server) recall(proxy identity.ID) error {
	for _, row := range s.store.Proxies() {
		if row.NodeID == proxy {
			s.link.hello.Proxy = row
		}
	}
	var gone tables.Batch
	for _, row := range s.store.Mappings() {
		if row.NodeID != s.key.ID() {
			continue
		}
		i := slices.IndexFunc(s.maps, func(m *mapping) bool { return m.Name == row.Name && m.Type == row.Type })
		if i < 0 || row.ProxyID != proxy {
			gone.DropMappings = append(gone.DropMappings, row.Key())
			continue
		}
		s.maps[i].row = row
		s.maps[i].wasUp = !row.VerifiedAt.IsZero()
		if s.maps[i].node {
			s.maps[i].Local = row.LocalAddress // until a port is chosen
		}
	}
	if err := s.store.Commit(gone); err != nil {
		return stateFailure(err)
	}
	return nil
}

// poke makes the pass run now.
func (s *server) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// proxy is how the user named the reverse proxy.
func (s *server) proxy() string { return s.o.Host + ":" + strconv.Itoa(int(s.o.Port)) }

// admitted reports whether the proxy at this address ever let this node in.
func (s *server) admitted() bool { return s.memory.at(s.o.Host, s.o.Port).Pin != "" }

func (s *server) run(ctx context.Context) error {
	// Start: frpc's version while the proxy is dialled, then the own port,
	// then the passes.
	version := make(chan error, 1)
	go func() {
		_, err := checkFRP(ctx, s.dir, "frpc", s.frpc.path)
		version <- err
	}()
	err := s.contact(ctx)
	if verr := <-version; verr != nil {
		return errors.Join(verr, s.store.Close(false))
	}
	if ctx.Err() != nil {
		return errors.Join(wanted(ctx), s.store.Close(false))
	}
	if err != nil {
		if f := refusal(s.proxy(), s.key.ID(), err); f.Kind != ProxyUnreachable || !s.admitted() {
			return errors.Join(f, s.store.Close(false))
		}
		s.o.Notify(Retrying{Proxy: s.proxy(), Err: err})
	}
	if s.port, err = openOwnPort(s); err != nil {
		return errors.Join(err, s.store.Close(false))
	}
	s.frpc.adopt()

	// Work: everything here outlives ctx, so that the stop below has an order.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	s.tree = newTree("server", s.log)
	s.tree.Add(s.link)
	s.tree.Add(s.store)
	if s.port.udp != nil {
		s.tree.Add(canaryUDP{s.port.udp, s.canary.ServeUDP})
	}
	treeDone := s.tree.ServeBackground(work)

	err = s.passes(ctx)

	// Stop: rows, frpc, the rest.
	err = errors.Join(err, s.stop(ctx))
	stopWork()
	if terr := <-treeDone; terr != nil && !errors.Is(terr, context.Canceled) {
		err = errors.Join(err, terr)
	}
	s.port.Close()
	return errors.Join(err, s.store.Close(s.leaving(ctx)))
}

// contact makes the first connection. It may take as long as it needs only
// where this node has to knock and may wait.
func (s *server) contact(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(firstContact, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	knocks := s.link.knocks
	s.link.knocks = func(proxy netip.AddrPort) {
		limit.Stop()
		knocks(proxy)
	}
	err := s.link.open(ctx)
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		return fmt.Errorf("no answer within %v", firstContact)
	}
	return err
}

func (s *server) leaving(ctx context.Context) bool { return context.Cause(ctx) == ErrLeave }

// stop ends the role in order: the rows, the leases, frpc. When p2prc only
// leaves, all of them stay.
func (s *server) stop(ctx context.Context) error {
	if s.leaving(ctx) {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
		defer cancel()
		if _, err := s.link.client.Report(bye, peerapi.ReportRequest{Left: true}); err != nil {
			s.log.Warn("telling the reverse proxy that p2prc leaves", "err", err)
		}
		s.frpc.leave()
		return nil
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	defer onAbort(s.o.Abort, cancel)()
	err := s.withdraw()
	s.release(stopping)
	return errors.Join(err, s.frpc.stop(stopping))
}

// withdraw takes this node's rows out of the table.
func (s *server) withdraw() error {
	var b tables.Batch
	for _, m := range s.store.Mappings() {
		if m.NodeID == s.key.ID() {
			b.DropMappings = append(b.DropMappings, m.Key())
		}
	}
	if err := s.store.Commit(b); err != nil {
		return fmt.Errorf("withdrawing the rows: %w", err)
	}
	return nil
}

// release gives the leases back; the reservations stay. A proxy that cannot be
// reached finds out by itself.
func (s *server) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, byeTimeout)
	defer cancel()
	var ids []string
	for _, m := range s.maps {
		if m.lease != nil {
			ids = append(ids, m.lease.ID)
		}
	}
	if _, err := s.link.state(); err != nil || len(ids) == 0 {
		return
	}
	if err := s.link.client.Release(ctx, peerapi.ReleaseRequest{LeaseIDs: ids}); err != nil {
		s.log.Warn("giving the leases back", "err", err)
	}
}

// wanted is nil for a stop that was asked for.
func wanted(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ErrLeave && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// newTree is a supervisor of goroutines that logs what happens to them.
func newTree(name string, log *slog.Logger) *suture.Supervisor {
	return suture.New(name, suture.Spec{
		EventHook: func(e suture.Event) { log.Warn("a service ended", "err", e.String()) },
	})
}

// openDir takes the state directory and turns what is wrong with it into a
// failure.
func openDir(path string) (*tables.Dir, error) {
	dir, err := tables.OpenDir(path)
	if err != nil {
		return nil, stateFailure(err)
	}
	return dir, nil
}

func stateFailure(err error) error {
	if held, ok := errors.AsType[*tables.LockedError](err); ok {
		return fail(StateHeld, fmt.Sprintf("end process %d first, or pass another --state-dir", held.PID), "%w", err)
	}
	if bad, ok := errors.AsType[*tables.UnusableError](err); ok {
		return fail(StateUnusable, bad.Hint, "%w", err)
	}
	if errors.Is(err, os.ErrPermission) {
		return fail(StateUnusable, "pass --state-dir with a directory that you may write", "%w", err)
	}
	return fail(StateUnusable, "", "%w", err)
}

// onAbort calls f once abort is closed; the result undoes it and waits.
func onAbort(abort <-chan struct{}, f func()) (undo func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-abort:
			f()
		case <-stop:
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}
