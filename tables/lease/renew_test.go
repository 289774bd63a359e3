package lease_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

func TestRenew(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh"), want("web")))
	other := must(t, b, bob, request("r", want("ssh")))[0]
	commits := w.commits
	w.now = w.now.Add(20 * time.Second)
	got, err := b.Renew(alice, []lease.Renewal{
		{LeaseID: l[0].ID, PortProved: true}, {LeaseID: other.ID}, {LeaseID: l[1].ID}, {LeaseID: "gone"},
	})
	if err != nil || w.commits != commits+1 {
		t.Fatalf("%d commits, %v", w.commits-commits, err)
	}
	for i, want := range []struct {
		id     string
		ttl    time.Duration
		reason string
	}{
		{l[0].ID, lease.TTL, "frpc has not opened it since frps was started"},
		{other.ID, 0, "the reverse proxy knows no such lease"},
		{l[1].ID, lease.TTL, "frpc has not opened it since frps was started"},
		{"gone", 0, "the reverse proxy knows no such lease"},
	} {
		if g := got[i]; g.LeaseID != want.id || g.TTL != want.ttl || g.Online || g.Reason != want.reason {
			t.Errorf("lease %d: %+v", i, g)
		}
	}
	row := w.db[tables.ReservationKey{NodeID: alice, Name: "ssh"}]
	if !row.LeaseUntil.Equal(w.now.Add(lease.TTL)) || !row.PortProvedAt.Equal(w.now) || row != got[0].Row {
		t.Errorf("on disk: %+v", row)
	}
	if s, _ := b.Get(bob, "ssh"); s.Left != 10*time.Second {
		t.Errorf("bob's lease has %v left", s.Left)
	}
	w.now = w.now.Add(lease.TTL)
	if got := must(t, b, alice, request("r2", want("ssh"), want("web"))); !got[0].Proved || got[1].Proved {
		t.Errorf("proved from outside: %t and %t", got[0].Proved, got[1].Proved)
	}
	w.now = w.now.Add(24 * time.Hour)
	if got := must(t, b, alice, request("r3", want("ssh"))); got[0].Proved {
		t.Error("a proof of yesterday counts")
	}
}

// A node reports every 15 s; the journal gets a line when a third of the lease
// is over, and at once when the port was proved for the first time.
func TestRenew_onlyWhenDue(t *testing.T) {
	w, b, l := opened(t)
	renew(t, b, l)
	for _, step := range []struct {
		later   time.Duration
		proved  bool
		commits int
		ttl     time.Duration
	}{
		{15 * time.Second, false, 0, lease.TTL - 15*time.Second},
		{0, true, 1, lease.TTL},
		{15 * time.Second, true, 0, lease.TTL - 15*time.Second},
		{lease.TTL/3 - 15*time.Second, true, 0, lease.TTL * 2 / 3},
		{time.Second, true, 1, lease.TTL},
	} {
		w.now = w.now.Add(step.later)
		commits := w.commits
		got, err := b.Renew(alice, []lease.Renewal{{LeaseID: l.ID, PortProved: step.proved}})
		if err != nil || got[0].TTL != step.ttl || w.commits-commits != step.commits {
			t.Errorf("%+v: %d commits, %+v, %v", step, w.commits-commits, got, err)
		}
		if row := w.db[tables.ReservationKey{NodeID: alice, Name: "ssh"}]; row != got[0].Row {
			t.Errorf("%+v: on disk: %+v", step, row)
		}
	}
}

func TestRenew_diskFull(t *testing.T) {
	w, b, l := opened(t)
	w.disk = errors.New("no space left on device")
	if got, err := b.Renew(alice, []lease.Renewal{{LeaseID: l.ID}}); codeOf(err) != peerapi.CodeUnavailable || !errors.Is(err, w.disk) || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if s, _ := b.Get(alice, "ssh"); s.Left != lease.Hold {
		t.Errorf("renewed in memory only: %v left", s.Left)
	}
}

func TestRelease(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh"), want("web")))
	commits := w.commits
	if err := b.Release(bob, []string{l[0].ID, "gone"}); err != nil || w.commits != commits || len(w.guards) != 2 {
		t.Errorf("somebody else's lease: %v", err)
	}
	w.disk = errors.New("no space left on device")
	if err := b.Release(alice, []string{l[0].ID}); codeOf(err) != peerapi.CodeUnavailable || len(w.guards) != 2 {
		t.Errorf("not durable: %v", err)
	}
	w.disk = nil
	if err := b.Release(alice, []string{l[0].ID, l[1].ID, l[0].ID}); err != nil || w.commits != commits+1 {
		t.Errorf("%d commits, %v", w.commits-commits, err)
	}
	if len(w.guards) != 0 {
		t.Error("ports that were given back are held")
	}
	for _, s := range b.Of(alice) {
		if s.Left != 0 || s.LeaseID != "" || !s.LeaseUntil.IsZero() || s.Port == 0 {
			t.Errorf("after the release: %+v", s)
		}
	}
	observe(t, w, b) // neither expired nor squatting
}

// A lease that was given back is over, whatever frps still has open.
func TestRelease_thenReserve(t *testing.T) {
	w, b, l := opened(t)
	if err := b.Release(alice, []string{l.ID}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	observe(t, w, b)
	again := must(t, b, alice, request("r2", want("ssh")))[0]
	if again.Port != l.Port || again.Guarded {
		t.Errorf("got %+v", again)
	}
	if r := renew(t, b, l); r.TTL != 0 || r.Reason != "the reverse proxy knows no such lease" {
		t.Errorf("the old lease: %+v", r)
	}
	if r := renew(t, b, again); r.TTL == 0 || r.Online {
		t.Errorf("the new lease, which the gate never saw: %+v", r)
	}
}

func TestRevoke(t *testing.T) {
	w, b, l := opened(t)
	must(t, b, alice, request("r2", want("web")))
	w.disk = errors.New("no space left on device")
	if err := b.Revoke(alice); !errors.Is(err, w.disk) || len(b.Of(alice)) != 2 {
		t.Errorf("not durable: %v", err)
	}
	if err := admit(b, alice, l); err != nil {
		t.Errorf("not revoked after all, and yet: %v", err)
	}
	w.disk = nil
	for range 2 {
		if err := b.Revoke(alice); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.Of(alice)) != 0 || len(w.guards) != 0 || len(w.db) != 0 {
		t.Errorf("left: %v, %d guards, %v", b.Of(alice), len(w.guards), w.db)
	}
	if err := admit(b, alice, l); err == nil {
		t.Error("the gate admits a revoked node")
	}
	w.now = w.now.Add(lease.Quarantine)
	observe(t, w, b, finding(lease.Squatter, l, nil))
	if got := must(t, b, bob, request("r", want("a"), want("b"))); got[0].Port == l.Port || got[1].Port == l.Port {
		t.Error("a port that the revoked node still listens on was granted")
	}
}

func TestFree(t *testing.T) {
	w := newWorld()
	o := w.options(tables.PortRange{First: 20000, Last: 20009})
	o.Taken = []uint16{20009, 7000}
	b := open(t, o)
	b.FRPSGone()
	free := func(when string, want int) {
		t.Helper()
		if got := b.Free(); got != want {
			t.Errorf("%s: %d free, want %d", when, got, want)
		}
	}
	free("at first", 9)
	l := must(t, b, alice, request("r1", wantPort("a", 20000), wantPort("b", 20001), peerapi.Want{Name: "c", Type: tables.UDP, Port: 20001}))
	free("two ports leased, one of them twice", 7)
	if err := b.Release(alice, []string{l[0].ID}); err != nil {
		t.Fatal(err)
	}
	free("in quarantine", 7)
	w.now = w.now.Add(lease.Quarantine)
	free("reserved, but to be reclaimed", 8)
	w.frps[port{tables.TCP, 20005}] = lease.Online{Name: "stranger", Type: tables.TCP, Port: 20005}
	w.frps[port{tables.TCP, 30000}] = lease.Online{Name: "outside", Type: tables.TCP, Port: 30000}
	if _, err := b.Observe(w.now, w.listing()); err != nil {
		t.Fatal(err)
	}
	free("frps has one", 7)
}

// Everything at once, for the race detector, and in the end each port has one
// holder.
func TestBook_concurrently(t *testing.T) {
	var mu sync.Mutex // of this host's ports
	held := make(map[uint16]bool)
	o := newWorld().options(tables.PortRange{First: 20000, Last: 20019})
	o.Now = time.Now
	o.Commit = func(tables.Batch) error { return nil }
	o.Guard = func(_ tables.Protocol, n uint16, _ string, _ []byte) (io.Closer, error) {
		mu.Lock()
		defer mu.Unlock()
		if held[n] {
			return nil, lease.ErrInUse
		}
		held[n] = true
		return closer(func() { mu.Lock(); defer mu.Unlock(); delete(held, n) }), nil
	}
	b := open(t, o)
	b.FRPSGone()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			id := nodeID(n)
			for i := range 30 {
				w := want("ssh")
				w.Another = i%7 == 3
				got, err := b.Reserve(id, request(fmt.Sprint(i), w, want("web")))
				if err != nil {
					if codeOf(err) != peerapi.CodePoolFull {
						t.Errorf("node %d: %v", n, err)
					}
					continue
				}
				if err := admit(b, id, got[0]); err != nil {
					t.Errorf("node %d: %v", n, err)
				}
				if _, err := b.Renew(id, []lease.Renewal{{LeaseID: got[0].ID, PortProved: true}}); err != nil {
					t.Errorf("node %d: %v", n, err)
				}
				b.Seen([]lease.Online{{Node: id, Name: "ssh", Type: got[0].Type, Port: got[0].Port}})
				b.Closed(id, "ssh")
				b.Free()
				b.Of(id)
				if i%10 == 9 {
					if err := b.Release(id, []string{got[0].ID}); err != nil {
						t.Errorf("node %d: %v", n, err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if _, err := b.Observe(time.Now(), nil); err != nil {
				t.Error(err)
			}
			b.FRPSGone()
		}
	})
	wg.Wait()
	seen := make(map[uint16]string)
	for n := range 8 {
		for _, s := range b.Of(nodeID(n)) {
			if who := fmt.Sprint(n, s.Name); seen[s.Port] != "" {
				t.Errorf("port %d is %s's and %s's", s.Port, seen[s.Port], who)
			} else {
				seen[s.Port] = who
			}
		}
	}
	b.Close()
	if diff := cmp.Diff(map[uint16]bool{}, held); diff != "" {
		t.Errorf("held after Close: %s", diff)
	}
}

type closer func()

func (c closer) Close() error { c(); return nil }
