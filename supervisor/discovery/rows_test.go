package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/netaddr"
	"p2prc/tables/record"
)

// speaker is another node, with what it says of itself.
type speaker struct {
	t   *testing.T
	key identity.Key
	set *record.Set
	own *record.Own
}

func newSpeaker(t *testing.T) *speaker {
	key := identity.NewKey()
	signer, err := record.NewSigner(record.SignerOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{t: t, key: key, set: record.New(record.Options{Self: signer})}
	if s.own, err = record.NewOwn(s.set); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *speaker) says(bodies ...record.Body) {
	s.t.Helper()
	if err := s.own.Say(time.Now(), bodies...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *speaker) beats() {
	s.t.Helper()
	if err := s.own.Beat(time.Now(), record.Heartbeat{Free: 1}); err != nil {
		s.t.Fatal(err)
	}
}

// told is a node that a reverse proxy and a server with one mapping tell of
// themselves. Nobody listens at the proxy's address: what dialling it gives is
// answers.
type told struct {
	t          *testing.T
	d          *discovery.Discovery
	path       string
	gate, home *speaker
	proxy      *record.Proxy
	claim      *record.Claim
	answers    atomic.Bool

	store *tables.Store
}

var errSilence = errors.New("no answer")

func newTold(t *testing.T) *told {
	t.Helper()
	w := &told{t: t, path: t.TempDir(), gate: newSpeaker(t), home: newSpeaker(t)}
	w.answers.Store(true)
	addr := netip.MustParseAddr("127.0.0.1")
	w.proxy = &record.Proxy{
		Name: "gate", Address: addr, NodePort: 1, FRPPort: 7000, Pool: tables.PortRange{First: 20000, Last: 29999},
		Admission: tables.AdmitToken, FRPVersion: "0.70.1", Version: "1",
	}
	signed := lease.Signed{
		Proxy: w.gate.key.ID(), Node: w.home.key.ID(), Name: "web", Type: tables.TCP, Port: 20000, LeaseID: "l",
		Until: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}.Sign(w.gate.key.Sign)
	var err error
	if w.claim, err = record.NewClaim(signed, w.gate.key.Public(), record.Claim{Server: "home", Address: addr}); err != nil {
		t.Fatal(err)
	}
	dir, err := tables.OpenDir(w.path)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if w.store, err = tables.Open(dir, tables.Options{Log: log}); err != nil {
		t.Fatal(err)
	}
	w.d, err = discovery.New(discovery.Options{
		Key: identity.NewKey(), Dir: dir, Store: w.store, Log: log, Filter: netaddr.Filter{Private: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.d.DialBy(func() error {
		if w.answers.Load() {
			return nil
		}
		return errSilence
	})
	w.gate.says(w.proxy)
	w.gate.beats()
	w.home.says(w.claim)
	w.tell()
	return w
}

// tell brings the node up to date.
func (w *told) tell() {
	for _, s := range []*speaker{w.gate, w.home} {
		w.d.Hear("", s.set.Owned(s.key.ID(), time.Now())...)
	}
}

// serve runs the node until the test ends.
func (w *told) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = w.store.Serve(ctx); ended <- struct{}{} }()
	go func() { _ = w.d.Serve(ctx); ended <- struct{}{} }()
	w.t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		if err := w.store.Close(false); err != nil {
			w.t.Error(err)
		}
	})
}

// lives lets time pass in which the proxy beats.
func (w *told) lives(d time.Duration) {
	for ; d > 0; d -= record.BeatEvery {
		w.gate.beats()
		w.tell()
		time.Sleep(record.BeatEvery)
	}
}

// says checks the states of the two rows; empty: there is none.
func (w *told) says(when, proxy, mapping string) {
	w.t.Helper()
	synctest.Wait()
	p, err := tables.ReadProxies(w.path, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := tables.ReadMappings(w.path, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	var gotP, gotM, reason string
	for _, r := range p.Rows {
		gotP, reason = string(r.State), r.Reason
	}
	for _, r := range m.Rows {
		gotM, reason = string(r.State), fmt.Sprintf("%s; %s", reason, r.Reason)
	}
	if gotP != proxy || gotM != mapping {
		w.t.Errorf("%s: the proxy is %q, the mapping %q, want %q and %q (%s)", when, gotP, gotM, proxy, mapping, reason)
	}
}

// A reverse proxy that vanishes is found out by its missing heartbeat, long
// before the last one is void; and it goes from the tables, once.
func TestRows_vanishedProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		w.serve()
		w.lives(5 * time.Minute)
		w.says("while it lives", "up", "up")
		w.answers.Store(false)
		time.Sleep(12 * time.Second)
		w.says("soon", "down", "down")
		time.Sleep(33 * time.Second)
		w.says("three quarters of a minute later", "down", "down")
		time.Sleep(15 * time.Second)
		w.says("a minute after its last word", "", "")
		w.home.says() // everything is looked at again
		w.tell()
		time.Sleep(10 * time.Second)
		w.says("after something else happened", "", "")
	})
}

// Who asked for a new measurement finds it in the file.
func TestRows_refresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		w.serve()
		w.lives(5 * time.Minute)
		w.d.Refresh(t.Context())
		v, err := tables.ReadProxies(w.path, time.Now())
		if err != nil || len(v.Rows) != 1 {
			t.Fatal(v.Rows, err)
		}
		if at := v.Rows[0].VerifiedAt; !at.Equal(time.Now().Truncate(time.Second)) {
			t.Errorf("measured at %v, it is %v", at, time.Now())
		}
	})
}

// One that is back is up as soon as it says so, not when it would be dialled again.
func TestRows_shortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		w.serve()
		w.lives(time.Minute)
		w.answers.Store(false)
		time.Sleep(20 * time.Second)
		w.says("while it is away", "down", "down")
		w.answers.Store(true)
		w.lives(2 * record.BeatEvery)
		w.says("when it is back", "up", "up")
	})
}

// A server that says nothing any more goes from the tables although its reverse
// proxy beats all the time.
func TestRows_vanishedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		w.serve()
		w.lives(time.Minute)
		w.gate.says(w.proxy, &record.Down{
			Tunnel: w.claim.Tunnel(), Claim: w.claimSerial(), Reason: "frpc is not there", Since: time.Now().UTC().Truncate(time.Second),
		})
		w.lives(record.BeatEvery)
		w.says("its proxy says so", "up", "down")
		w.lives(50 * time.Second)
		w.says("within a minute", "up", "")
	})
}

// What a node says of its own mapping keeps nobody from knowing that the reverse
// proxy is gone.
func TestRows_proxySaidGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		w.serve()
		w.lives(time.Minute)
		w.home.says(w.claim, &record.Down{
			Tunnel: w.claim.Tunnel(), Claim: w.claimSerial(), Reason: "the proxy does not answer", Since: time.Now().UTC().Truncate(time.Second),
		})
		if err := w.gate.own.Goodbye(time.Now()); err != nil {
			t.Fatal(err)
		}
		w.tell()
		time.Sleep(2 * time.Second)
		w.says("after the goodbye", "", "")
	})
}

// Who asks others and goes again does not list what is long dead.
func TestRows_askedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTold(t)
		show := func() {
			w.d.Show()
			if err := w.store.Close(true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(record.BeatLife + time.Second)
		w.d.AskedOthers()
		show()
		w.says("silent", "", "")
	})
}

func (w *told) claimSerial() uint64 {
	return w.home.set.Get(w.home.key.ID(), w.claim.Tunnel().ClaimSubject(), time.Now()).Serial
}
