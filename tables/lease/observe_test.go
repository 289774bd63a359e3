package lease_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"p2prc/tables"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// opened is a book with one lease that frps has open, as Observe saw.
func opened(t *testing.T) (*world, *lease.Book, peerapi.Lease) {
	t.Helper()
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	if err := admit(b, alice, l); err != nil {
		t.Fatal(err)
	}
	if !w.bind(lease.Online{Node: alice, Name: "ssh", Type: l.Type, Port: l.Port}) {
		t.Fatal("frps cannot have the port")
	}
	observe(t, w, b)
	return w, b, l
}

// observe looks now and wants to find exactly this.
func observe(t *testing.T, w *world, b *lease.Book, want ...lease.Finding) {
	t.Helper()
	found, err := b.Observe(w.now, w.listing())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found, cmpopts.EquateErrors(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("found (- want, + got):\n%s", diff)
	}
}

func finding(kind lease.FindingKind, l peerapi.Lease, err error) lease.Finding {
	return lease.Finding{Kind: kind, Node: alice, Name: l.Name, Type: l.Type, Port: l.Port, Err: err}
}

func renew(t *testing.T, b *lease.Book, l peerapi.Lease) lease.Renewed {
	t.Helper()
	got, err := b.Renew(alice, []lease.Renewal{{LeaseID: l.ID}})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func TestObserve_guardComesBack(t *testing.T) {
	w, b, l := opened(t)
	at := port{l.Type, l.Port}
	if r := renew(t, b, l); !r.Online {
		t.Fatalf("not online: %s", r.Reason)
	}
	delete(w.frps, at) // the service's health check failed, or frpc died
	w.now = w.now.Add(time.Second)
	observe(t, w, b)
	if w.guards[at] != nil {
		t.Error("held a second after the gate's yes: frps may be about to open it")
	}
	if r := renew(t, b, l); !r.Online {
		t.Errorf("a listing this soon says nothing: %s", r.Reason)
	}
	w.now = w.now.Add(time.Minute)
	observe(t, w, b)
	if w.guards[at] == nil {
		t.Error("nobody holds the port of a live lease")
	}
	if r := renew(t, b, l); r.Online || r.Reason == "" {
		t.Errorf("online: %+v", r)
	}
	if err := admit(b, alice, l); err != nil || w.guards[at] != nil {
		t.Errorf("back again: %v", err)
	}
}

func TestObserve_stolenPort(t *testing.T) {
	w, b, l := opened(t)
	at := port{l.Type, l.Port}
	delete(w.frps, at)
	w.thief[at] = true
	w.now = w.now.Add(10 * time.Second)
	for range 2 { // for as long as it lasts
		observe(t, w, b, finding(lease.Unguarded, l, lease.ErrInUse))
	}
	delete(w.thief, at)
	w.guardErr = errors.New("too many open files")
	found, err := b.Observe(w.now, w.listing())
	if err != nil || len(found) != 1 || found[0].Stolen() || !errors.Is(found[0].Err, w.guardErr) {
		t.Errorf("found %+v, %v", found, err)
	}
	w.guardErr = nil
	observe(t, w, b)
	if w.guards[at] == nil {
		t.Error("not held although it could be")
	}
}

func TestObserve_leaseRunsOut(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	w.now = w.now.Add(lease.Hold - 1)
	observe(t, w, b)
	w.now = w.now.Add(1)
	observe(t, w, b, finding(lease.Expired, l, nil))
	observe(t, w, b) // once
	if len(w.guards) != 0 {
		t.Error("the guard outlives its lease")
	}
	if r := w.db[tables.ReservationKey{NodeID: alice, Name: "ssh"}]; !r.LeaseUntil.IsZero() || r.LeaseID != l.ID || r.Port != l.Port {
		t.Errorf("on disk: %+v", r)
	}
	if r := renew(t, b, l); r.TTL != 0 || r.Reason != "the lease ran out" {
		t.Errorf("renewed: %+v", r)
	}
}

func TestObserve_forgets(t *testing.T) {
	for _, tt := range []struct {
		name string
		open bool
		keep time.Duration
	}{{"closed proxy", false, lease.Keep}, {"open proxy", true, lease.KeepOpen}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			o := w.options(pool3)
			o.Open = tt.open
			b := open(t, o)
			b.FRPSGone()
			l := must(t, b, alice, request("r1", want("ssh"), want("web")))
			w.frps[port{l[1].Type, l[1].Port}] = lease.Online{Node: alice, Name: "web", Type: l[1].Type, Port: l[1].Port}
			w.guards = map[port]*guard{} // web was admitted
			w.now = w.now.Add(tt.keep)
			if _, err := b.Observe(w.now, w.listing()); err != nil {
				t.Fatal(err)
			}
			if len(b.Of(alice)) != 2 {
				t.Fatal("forgotten too soon")
			}
			w.now = w.now.Add(1)
			observe(t, w, b, finding(lease.Forgotten, l[0], nil)) // not web, which works
			if len(b.Of(alice)) != 1 || len(w.db) != 1 {
				t.Errorf("left: %+v, on disk %v", b.Of(alice), w.db)
			}
		})
	}
}

func TestObserve_squatters(t *testing.T) {
	w, b, l := opened(t)
	for _, o := range []lease.Online{
		{Node: bob, Name: "web", Type: tables.TCP, Port: 20001}, // never reserved
		{Node: alice, Name: "ssh", Type: tables.UDP, Port: l.Port},
		{Name: "a.stranger", Type: tables.TCP, Port: 30000},
	} {
		w.frps[port{o.Type, o.Port}] = o
	}
	sort := cmpopts.SortSlices(func(x, y lease.Finding) bool { return x.Name+string(x.Type) < y.Name+string(y.Type) })
	found, err := b.Observe(w.now, w.listing())
	want := []lease.Finding{
		{Kind: lease.Squatter, Name: "a.stranger", Type: tables.TCP, Port: 30000},
		{Kind: lease.Squatter, Node: alice, Name: "ssh", Type: tables.UDP, Port: l.Port},
		{Kind: lease.Squatter, Node: bob, Name: "web", Type: tables.TCP, Port: 20001},
	}
	if diff := cmp.Diff(want, found, sort); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A mapping that was moved is still on its old port until frpc has reloaded.
func TestObserve_movedIsNoSquatterYet(t *testing.T) {
	w, b, l := opened(t)
	must(t, b, alice, request("r2", wantPort("ssh", l.Port+1)))
	observe(t, w, b)
	w.now = w.now.Add(lease.Quarantine)
	found, err := b.Observe(w.now, w.listing())
	if err != nil || len(found) == 0 || found[0].Kind != lease.Squatter || found[0].Port != l.Port {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestObserve_overtaken(t *testing.T) {
	w, b, l := opened(t)
	asked, listing := w.now.Add(time.Second), w.listing()
	w.now = w.now.Add(2 * time.Second)
	clear(w.frps)
	if found := b.FRPSGone(); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	if _, err := b.Observe(asked, listing); err != nil {
		t.Fatal(err)
	}
	if r := renew(t, b, l); r.Online || w.guards[port{l.Type, l.Port}] == nil {
		t.Error("what the old frps said was believed of the new one")
	}
	b.Seen(listing)
	if err := admit(b, alice, l); err != nil {
		t.Fatal(err)
	}
	if r := renew(t, b, l); r.Online {
		t.Error("a port that p2prc holds cannot be frps's")
	}
}

func TestObserve_overtakenByAGuard(t *testing.T) {
	w, b, l := opened(t)
	w.now = w.now.Add(time.Minute)
	asked, listing := w.now, w.listing()
	clear(w.frps) // frpc is gone, and its node asks for the port anew
	w.now = w.now.Add(time.Second)
	if got := must(t, b, alice, request("r2", want("ssh")))[0]; !got.Guarded {
		t.Fatalf("got %+v", got)
	}
	if r := renew(t, b, l); r.Online {
		t.Error("online although p2prc could take the port")
	}
	if _, err := b.Observe(asked, listing); err != nil {
		t.Fatal(err)
	}
	if err := admit(b, alice, l); err != nil {
		t.Fatal(err)
	}
	if r := renew(t, b, l); r.Online {
		t.Error("a listing from before the guard was believed")
	}
}

// Between the gate's yes and frps's listening nobody may be in the way.
func TestObserve_rightAfterTheGate(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	if err := admit(b, alice, l); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Second)
	observe(t, w, b)
	if got := must(t, b, alice, request("r2", want("ssh")))[0]; got.Guarded || len(w.guards) != 0 {
		t.Error("held again before frps could open it")
	}
	w.now = w.now.Add(10 * time.Second)
	observe(t, w, b)
	if len(w.guards) != 1 {
		t.Error("frps did not open it, and nobody holds it")
	}
}

func TestFRPSGone(t *testing.T) {
	w, b, l := opened(t)
	other := must(t, b, bob, request("r", want("web")))[0]
	at := port{l.Type, l.Port}
	clear(w.frps)
	w.thief[at] = true
	found := b.FRPSGone()
	if diff := cmp.Diff([]lease.Finding{finding(lease.Unguarded, l, lease.ErrInUse)}, found, cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
	if !found[0].Stolen() || w.guards[port{other.Type, other.Port}] == nil {
		t.Error("the other port is not held any more")
	}
	if r := renew(t, b, l); r.Online || r.TTL != lease.TTL {
		t.Errorf("renewed: %+v", r)
	}
	delete(w.thief, at)
	b.FRPSGone()
	if w.guards[at] == nil {
		t.Error("the port of a live lease is not held while frps is gone")
	}
	w.died()
	b = open(t, w.options(pool3))
	if found := b.FRPSGone(); len(found) != 0 || len(w.guards) != 2 {
		t.Errorf("after a restart of both: found %v, %d ports held", found, len(w.guards))
	}
	w.frps[port{tables.TCP, 20002}] = lease.Online{Name: "stranger", Type: tables.TCP, Port: 20002}
	if _, err := b.Observe(w.now, w.listing()); err != nil {
		t.Fatal(err)
	}
	if b.Free() != 0 {
		t.Error("a squatter's port is free")
	}
	asked, listing := w.now, w.listing()
	w.now = w.now.Add(time.Second)
	clear(w.frps)
	b.FRPSGone()
	if b.Free() != 1 {
		t.Error("what squatted at the old frps is in the way")
	}
	if _, err := b.Observe(asked, listing); err != nil || b.Free() != 1 {
		t.Errorf("the old frps's listing was believed, %v", err)
	}
}

func TestObserve_diskFull(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh"), want("web")))
	w.now = w.now.Add(lease.Keep + 1)
	w.disk = errors.New("no space left on device")
	w.onCommit = func() {
		if err := admit(b, alice, l[0]); err == nil {
			t.Error("admitted to a reservation that is being dropped")
		}
	}
	if found, err := b.Observe(w.now, nil); !errors.Is(err, w.disk) || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
	if len(b.Of(alice)) != 2 || len(w.guards) != 0 {
		t.Errorf("%d guards, %v", len(w.guards), b.Of(alice))
	}
	if err := admit(b, alice, l[0]); err != nil {
		t.Errorf("a reservation that could not be dropped: %v", err)
	}
}

// A restart of p2prc beside a frps that runs on.
func TestNew_adoptsWhatFRPSHas(t *testing.T) {
	w, b, l := opened(t)
	b = reopen(t, w, b, pool3)
	if r := renew(t, b, l); !r.Online {
		t.Errorf("not online: %s", r.Reason)
	}
}

func TestNew_clock(t *testing.T) {
	for _, tt := range []struct {
		name string
		jump time.Duration // of the wall clock while p2prc was down
		want time.Duration
	}{
		{"no jump", 0, lease.TTL},
		{"down for a while", 4 * time.Minute, 6 * time.Minute},
		{"a day ahead", 24 * time.Hour, 30 * time.Second},
		{"a day back", -24 * time.Hour, lease.TTL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, b, l := opened(t)
			renew(t, b, l)
			w.now = w.now.Add(tt.jump)
			b = reopen(t, w, b, pool3)
			if s, _ := b.Get(alice, "ssh"); s.Left != tt.want {
				t.Errorf("%v left, want %v", s.Left, tt.want)
			}
		})
	}
}

func TestNew_onePortTwice(t *testing.T) {
	w := newWorld()
	o := w.options(pool3)
	row := tables.Reservation{Name: "ssh", Type: tables.TCP, Port: 20000, UsedAt: w.now}
	older, newer := row, row
	older.NodeID, newer.NodeID = alice, bob
	newer.UsedAt = w.now.Add(time.Second)
	for _, rows := range [][]tables.Reservation{{older, newer}, {newer, older}} {
		o.Reservations = rows
		b := open(t, o)
		if len(b.Of(alice)) != 0 || len(b.Of(bob)) != 1 {
			t.Errorf("alice has %v, bob %v", b.Of(alice), b.Of(bob))
		}
	}
}

func TestNew_saysWhatIsMissing(t *testing.T) {
	if _, err := lease.New(lease.Options{Pool: pool3}); err == nil {
		t.Error("without functions")
	}
	if _, err := lease.New(newWorld().options(tables.PortRange{})); err == nil {
		t.Error("without a pool")
	}
}
