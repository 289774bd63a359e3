package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/supervisor/control"
	"p2prc/supervisor/discovery"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/netaddr"
)

// Bounds on the server's own work.
const (
	firstContact = 4 * time.Second // a proxy that never admitted this node: exit 5 within 5 s
	callWait     = 5 * time.Second // one call of the proxy's node API
	byeTimeout   = time.Second     // telling the proxy that this node stops
	stopTimeout  = 4 * time.Second // all of an orderly stop; 5 s are promised
)

// server is the running role of a node behind NAT: what it maps, the port that
// is its own, and an attachment for each reverse proxy.
type server struct {
	o       ConnectOptions
	log     *slog.Logger
	started time.Time
	dir     *tables.Dir
	store   *tables.Store
	key     identity.Key
	memory  *memory
	frpc    string // path

	frpcVersion string // known once it has started
	tree        *suture.Supervisor
	port        *ownPort
	canary      *proof.Canary

	looking  sync.Mutex // guards services
	services *proof.Services

	telling sync.Mutex // one Notify at a time

	standing  standing // has the attachments
	discovery *discovery.Discovery
	claims    claims
	choice    choice
	mappings
	board      *board
	opened     chan struct{} // closed once the tables are read
	journaling sync.Mutex    // what the journal says of mappings and what the list says change together
	control    net.Listener
	leave      context.CancelCauseFunc // ends the role

	discovering sync.Once
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
		canary:   proof.NewCanary(),
		services: proof.NewServices(),
		board:    newBoard(),
		opened:   make(chan struct{}),
	}
	if o.Name == "" {
		s.o.Name = nodeName()
	}
	s.port = newOwnPort(s)
	s.standing.stable = cmp.Or(o.SwitchBack, switchBack)
	if err := s.declare(o.Maps); err != nil {
		return nil, err
	}
	var err error
	if s.frpc, err = findFRP("frpc", o.FRPC); err != nil {
		return nil, err // before anything is written
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
	if err := s.readFile(); err != nil {
		dir.Close()
		return nil, err
	}
	if s.control, err = control.Listen(dir.Private("control.sock")); err != nil {
		dir.Close()
		return nil, stateFailure(err)
	}
	return s, nil
}

// load reads who this node and its proxies are.
func (s *server) load() error {
	var err error
	if s.key, err = identity.LoadOrCreate(s.dir.Private("node.key")); err != nil {
		return stateFailure(err)
	}
	if s.memory, err = loadMemory(s.dir.Private("proxies.json"), s.log); err != nil {
		return stateFailure(err)
	}
	for i, up := range s.o.Proxies {
		a, err := s.attach(up, i)
		if err != nil {
			return err
		}
		s.standing.add(a)
	}
	return nil
}

// filter says which addresses that others name may be dialled.
func (s *server) filter() netaddr.Filter { return netaddr.Filter{Private: s.o.PrivateAddresses} }

func (s *server) notify(n Notice) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.o.Notify(n)
}

// start does what must be done before the first pass, all of it at once: the
// proxies are dialled while frpc says its version and the tables are read.
func (s *server) start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var versionErr, storeErr error
	attachments := s.standing.all()
	contactErrs := make([]error, len(attachments))
	wg.Go(func() {
		version, err := checkFRP(ctx, s.dir, "frpc", s.frpc)
		if versionErr = err; err != nil {
			cancel()
			return
		}
		s.frpcVersion = version.String()
		for _, a := range attachments {
			a.frpc.vitals.version(version.String())
		}
	})
	for i, a := range attachments {
		wg.Go(func() { contactErrs[i] = a.contact(ctx) })
	}
	if storeErr = s.read(); storeErr != nil {
		cancel()
	} else {
		close(s.opened)
	}
	wg.Wait()
	switch {
	case storeErr != nil:
		return stateFailure(storeErr)
	case versionErr != nil:
		return versionErr
	}
	for i, a := range attachments {
		if err := contactErrs[i]; err != nil {
			s.standing.drop(a)
			if len(s.standing.all()) == 0 && !s.o.Auto {
				return contactErrs[0]
			}
			s.log.Error("going on without a reverse proxy", "proxy", a.proxy(), "err", err)
		}
	}
	return nil
}

// read opens the tables, and all that hangs on them.
func (s *server) read() (err error) {
	if s.store, err = tables.Open(s.dir, tables.Options{Log: s.log}); err != nil {
		return err
	}
	s.remember(s.store.Wanted())
	s.discovery, err = discovery.New(discovery.Options{
		Key: s.key, Dir: s.dir, Store: s.store, Filter: s.filter(),
		Log: s.o.Log, Say: s.claims.all, Near: s.near,
	})
	return err
}

func (s *server) run(ctx context.Context) error {
	ctx, s.leave = context.WithCancelCause(ctx)
	defer s.leave(nil)
	ctl, stopControl := context.WithCancel(ctx)
	controlled := make(chan struct{})
	go func() {
		defer close(controlled)
		s.answer(ctl)
	}()
	defer func() { <-controlled }()
	defer stopControl()
	err := s.start(ctx)
	if s.store == nil {
		return err
	}
	if err == nil && s.o.Auto {
		err = s.firstChoice(ctx)
	}
	if err == nil {
		err = s.forget()
	}
	if err != nil || ctx.Err() != nil {
		if ctx.Err() != nil && !leaving(ctx) {
			err = errors.Join(err, s.stopLeft(ctx))
		}
		return errors.Join(err, wanted(ctx), s.store.Close(leaving(ctx)))
	}

	// Work: everything here outlives ctx, so that the stop below has an order.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	s.tree = newTree("server", s.log)
	s.tree.Add(service{"tables", s.store.Serve})
	s.tree.Add(s.memory)
	treeDone := s.tree.ServeBackground(work)

	if s.o.Auto { // it depends on what others say
		s.discover()
	}
	err = s.serve(ctx)

	// Stop: rows and frpc have gone with their attachments. The world hears of
	// it, and the rest goes.
	if !leaving(ctx) {
		sayGoodbye(ctx, s.discovery, s.log, s.o.Abort)
	}
	stopWork()
	if merr := s.memory.flush(); merr != nil {
		s.log.Warn("remembering the leases", "err", merr)
	}
	if terr := <-treeDone; terr != nil && !errors.Is(terr, context.Canceled) {
		err = errors.Join(err, terr)
	}
	s.port.Close()
	return errors.Join(err, s.store.Close(leaving(ctx)))
}

// discover starts to talk to other nodes. That waits for the first pass of an
// attachment, which it would only slow down.
func (s *server) discover() {
	s.discovering.Do(func() { s.tree.Add(service{"discovery", s.discovery.Serve}) })
}

// sayGoodbye takes back what the node said of itself, if anybody is there to hear it.
func sayGoodbye(ctx context.Context, d *discovery.Discovery, log *slog.Logger, abort <-chan struct{}) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	defer onAbort(abort, cancel)()
	if err := d.Goodbye(bye); err != nil {
		log.Debug("nobody was told that this node goes", "err", err)
	}
}

// stopLeft ends what an earlier p2prc left, when this one is stopped before it
// took it over: a stop means all of it.
func (s *server) stopLeft(ctx context.Context) error {
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	defer onAbort(s.o.Abort, cancel)()
	var errs []error
	for _, a := range s.standing.all() {
		a.frpc.adopt()
		errs = append(errs, a.withdraw(), a.frpc.stop(stopping))
	}
	return errors.Join(errs...)
}

// forget drops the rows of this node at reverse proxies that it does not use
// any more.
func (s *server) forget() error {
	var gone tables.Batch
	for _, row := range s.store.Mappings() {
		used := slices.ContainsFunc(s.standing.all(), func(a *attachment) bool { return a.proxyID() == row.ProxyID })
		if row.NodeID == s.key.ID() && !used {
			gone.DropMappings = append(gone.DropMappings, row.Key())
		}
	}
	if err := s.store.Commit(gone); err != nil {
		return stateFailure(err)
	}
	return nil
}

func leaving(ctx context.Context) bool { return context.Cause(ctx) == ErrLeave }

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

const noRoomHint = "make room on the disk of the state directory"

// corruptKeyHint says what goes with the key: the node's ID, by which it was
// admitted, its ports are reserved, and others have pinned it.
const corruptKeyHint = "put a copy of it back; or move it away, and p2prc makes a new one and is another node: " +
	"a server then has to join again and gets other ports, and a reverse proxy is refused by its servers until they have pinned it anew"

func stateFailure(err error) error {
	if _, ok := errors.AsType[*identity.CorruptKeyError](err); ok {
		return fail(StateUnusable, corruptKeyHint, "%w", err)
	}
	if held, ok := errors.AsType[*tables.LockedError](err); ok {
		return fail(StateHeld, fmt.Sprintf("end process %d first, or pass another --state-dir", held.PID), "%w", err)
	}
	if bad, ok := errors.AsType[*tables.UnusableError](err); ok {
		return fail(StateUnusable, bad.Hint, "%w", err)
	}
	if errors.Is(err, os.ErrPermission) {
		return fail(StateUnusable, "pass --state-dir with a directory that you may write", "%w", err)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fail(StateUnusable, noRoomHint, "%w", err)
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
