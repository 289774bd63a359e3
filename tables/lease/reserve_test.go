package lease_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

var (
	pool3 = tables.PortRange{First: 20000, Last: 20002}
	alice = nodeID(1)
	bob   = nodeID(2)
)

func ports(leases []peerapi.Lease) []uint16 {
	var out []uint16
	for _, l := range leases {
		out = append(out, l.Port)
	}
	return out
}

func codeOf(err error) peerapi.Code {
	r, ok := errors.AsType[*peerapi.Refusal](err)
	if !ok {
		return ""
	}
	return r.Code
}

// wantPort asks for one port and no other.
func wantPort(name string, port uint16) peerapi.Want {
	w := want(name)
	w.Port = port
	return w
}

func TestReserve(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	got := must(t, b, alice, request("r1", want("ssh"), want("web")))
	if len(got) != 2 || w.commits != 1 {
		t.Fatalf("%d leases in %d commits", len(got), w.commits)
	}
	for i, l := range got {
		if l.Name != []string{"ssh", "web"}[i] || l.TTL.Duration() != lease.Hold || !l.Guarded || l.Proved {
			t.Errorf("lease %d: %+v", i, l)
		}
		if g := w.guards[port{tables.TCP, l.Port}]; g == nil || g.id != l.ID {
			t.Errorf("port %d is not held for its lease", l.Port)
		}
		s, err := lease.ParseSigned(l.Signed, w.options(pool3).Verify)
		want := lease.Signed{Proxy: proxyID, Node: alice, Name: l.Name, Type: tables.TCP, Port: l.Port, LeaseID: l.ID, Until: w.now.Add(24 * time.Hour)}
		if diff := cmp.Diff(want, s); diff != "" || err != nil {
			t.Errorf("signed lease: %v\n%s", err, diff)
		}
		r := w.db[tables.ReservationKey{NodeID: alice, Name: l.Name}]
		if r.LeaseID != l.ID || r.Port != l.Port || !r.LeaseUntil.Equal(w.now.Add(lease.Hold)) || !r.UsedAt.Equal(w.now) {
			t.Errorf("committed: %+v", r)
		}
	}
	if got[0].ID == got[1].ID || got[0].Port == got[1].Port {
		t.Errorf("two leases share a port or an ID: %+v", got)
	}
}

func TestReserve_sameNodeAndNameKeepTheirPort(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	first := must(t, b, alice, request("r1", want("ssh")))[0]
	again := func(when string, sameID bool) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		l := must(t, b, alice, request(when, peerapi.Want{Name: "ssh", Type: tables.TCP, Candidates: []uint16{20002}}))[0]
		if l.Port != first.Port || (l.ID == first.ID) != sameID {
			t.Errorf("%s: port %d under %s, was %d under %s", when, l.Port, l.ID, first.Port, first.ID)
		}
		if l.Guarded != (w.guards[port{tables.TCP, l.Port}] != nil) {
			t.Errorf("%s: Guarded is %t, which is not so", when, l.Guarded)
		}
	}
	again("at once", true)
	w.now = w.now.Add(lease.Hold + lease.Quarantine)
	again("after it ran out", true)
	w.now = w.now.Add(30 * 24 * time.Hour)
	if _, err := b.Observe(w.now, nil); err != nil {
		t.Fatal(err)
	}
	again("after a month", true)
	w.died()
	b = open(t, w.options(pool3))
	b.FRPSGone()
	again("after a restart of p2prc and frps", true)
	if err := b.Release(alice, []string{first.ID}); err != nil {
		t.Fatal(err)
	}
	again("after giving it back", false)
}

func TestReserve_refuses(t *testing.T) {
	w := newWorld()
	o := w.options(tables.PortRange{First: 20000, Last: 20004})
	o.Taken = []uint16{20004}
	w.thief[port{tables.TCP, 20001}] = true
	w.frps[port{tables.TCP, 20002}] = lease.Online{Node: bob, Name: "old", Type: tables.TCP, Port: 20002}
	b := open(t, o)
	if _, err := b.Observe(w.now, w.listing()); err != nil {
		t.Fatal(err)
	}
	must(t, b, bob, request("r", wantPort("web", 20000)))
	commits := w.commits
	many := make([]peerapi.Want, lease.MaxPorts+1)
	for i := range many {
		many[i] = want(fmt.Sprintf("n%d", i))
	}
	tests := []struct {
		name  string
		req   peerapi.ReserveRequest
		code  peerapi.Code
		wants []peerapi.Want
	}{
		{"no request ID", request("", want("a")), peerapi.CodeBadRequest, nil},
		{"a long request ID", request(fmt.Sprintf("%065d", 0), want("a")), peerapi.CodeBadRequest, nil},
		{"nothing", request("r"), peerapi.CodeBadRequest, nil},
		{"a bad name", request("r", want("a/b")), peerapi.CodeBadRequest, nil},
		{"one name twice", request("r", want("a"), want("a")), peerapi.CodeBadRequest, nil},
		{"no protocol", request("r", peerapi.Want{Name: "a"}), peerapi.CodeBadRequest, nil},
		{"too many candidates", request("r", peerapi.Want{Name: "a", Type: tables.TCP, Candidates: make([]uint16, 65)}), peerapi.CodeBadRequest, nil},
		{"too many ports", request("r", many...), peerapi.CodeQuota, nil},
		{"another node's port", request("r", wantPort("a", 20000)), peerapi.CodePortTaken, nil},
		{"a stolen port", request("r", wantPort("a", 20001)), peerapi.CodePortTaken, nil},
		{"a port that frps has", request("r", wantPort("a", 20002)), peerapi.CodePortTaken, nil},
		{"the proxy's own port", request("r", wantPort("a", 20004)), peerapi.CodePortTaken, nil},
		{"a port outside the pool", request("r", wantPort("a", 80)), peerapi.CodePortTaken, nil},
		{"one port for two names", request("r", wantPort("a", 20003), wantPort("b", 20003)), peerapi.CodePortTaken, nil},
		{"one port too many", request("r", want("a"), want("b")), peerapi.CodePoolFull, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := b.Reserve(alice, tt.req)
			if codeOf(err) != tt.code {
				t.Fatalf("got %v and %v, want %s", ports(got), err, tt.code)
			}
			if len(w.guards) != 1 || w.commits != commits || len(b.Of(alice)) != 0 {
				t.Errorf("a refusal left %d guards, %d commits, %v", len(w.guards), w.commits-commits, b.Of(alice))
			}
		})
	}
	if got := ports(must(t, b, alice, request("r", want("a")))); !slices.Equal(got, []uint16{20003}) {
		t.Errorf("the one free port is 20003, got %v", got)
	}
}

func TestReserve_certainPortsComeFirst(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	got := must(t, b, alice, request("r", want("any"), wantPort("first", 20000), wantPort("second", 20001)))
	if diff := cmp.Diff([]uint16{20002, 20000, 20001}, ports(got)); diff != "" {
		t.Error(diff)
	}
	// The same number in the other protocol is another port.
	udp := wantPort("dns", 20000)
	udp.Type = tables.UDP
	if l := must(t, b, bob, request("r", udp))[0]; l.Port != 20000 || l.Type != tables.UDP {
		t.Errorf("%+v", l)
	}
}

func TestReserve_candidates(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	w.thief[port{tables.TCP, 20002}] = true
	candidates := peerapi.Want{Name: "p2prc", Type: tables.TCP, Candidates: []uint16{80, 20002, 20001}}
	if l := must(t, b, alice, request("r", candidates))[0]; l.Port != 20001 {
		t.Errorf("got %d, want the candidate that is free, 20001", l.Port)
	}
	if l := must(t, b, bob, request("r", candidates))[0]; l.Port != 20000 {
		t.Errorf("got %d, want the port that is left, 20000", l.Port)
	}
}

func TestReserve_another(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	first := must(t, b, alice, request("r1", want("ssh")))[0]
	another := want("ssh")
	another.Another = true
	another.Candidates = []uint16{first.Port}
	another.Lease = first.Signed
	second := must(t, b, alice, request("r2", another))[0]
	if second.Port == first.Port || second.ID == first.ID {
		t.Fatalf("got %d under %s again", second.Port, second.ID)
	}
	if again := must(t, b, alice, request("r2", another))[0]; again.Port != second.Port || again.ID != second.ID {
		t.Errorf("the same request gave up one more port: %d after %d", again.Port, second.Port)
	}
	if err := admit(b, alice, first); err == nil {
		t.Error("the gate admits the lease that was given up")
	}
	third := must(t, b, alice, request("r3", another))[0]
	if _, err := b.Reserve(alice, request("r4", another)); codeOf(err) != peerapi.CodePoolFull {
		t.Errorf("all ports were stolen from ssh, and yet: %v", err)
	}
	if s := b.Of(alice); len(s) != 1 || s[0].Port != third.Port || s[0].Left == 0 {
		t.Errorf("after a refusal: %+v", s)
	}
	if got := must(t, b, alice, request("r5", wantPort("web", first.Port)))[0]; got.Port != first.Port {
		t.Error("another name of the node cannot have it")
	}
}

func TestReserve_stolenWhileAway(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	w.now = w.now.Add(time.Hour)
	if _, err := b.Observe(w.now, nil); err != nil {
		t.Fatal(err)
	}
	w.thief[port{tables.TCP, l.Port}] = true
	if _, err := b.Reserve(alice, request("r2", wantPort("ssh", l.Port))); codeOf(err) != peerapi.CodePortTaken {
		t.Errorf("this port and no other: %v", err)
	}
	if got := must(t, b, alice, request("r3", want("ssh")))[0]; got.Port == l.Port || !got.Guarded {
		t.Errorf("got %+v in place of the stolen port", got)
	}
}

// Before the first look at frps, a port that cannot be held may be frps's, for
// this very node.
func TestReserve_beforeTheFirstLook(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	if err := admit(b, alice, l); err != nil || !w.bind(lease.Online{Node: alice, Name: "ssh", Type: tables.TCP, Port: l.Port}) {
		t.Fatalf("not opened: %v", err)
	}
	w.died()
	b = open(t, w.options(pool3))
	if got := must(t, b, alice, request("r2", want("ssh")))[0]; got.Port != l.Port || got.Guarded {
		t.Errorf("got %+v while frps has %d", got, l.Port)
	}
	if got := must(t, b, bob, request("r3", want("web")))[0]; got.Port == l.Port {
		t.Errorf("bob got alice's port")
	}
}

func TestReserve_moves(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	must(t, b, alice, request("r1", wantPort("ssh", 20000)))
	moved := must(t, b, alice, request("r2", wantPort("ssh", 20002)))[0]
	if moved.Port != 20002 || len(b.Of(alice)) != 1 || w.guards[port{tables.TCP, 20000}] != nil {
		t.Fatalf("moved to %d, has %v", moved.Port, b.Of(alice))
	}
	if _, err := b.Reserve(bob, request("r", wantPort("web", 20000))); codeOf(err) != peerapi.CodePortTaken {
		t.Errorf("another node got a port that was given up a moment ago: %v", err)
	}
	if got := must(t, b, alice, request("r3", wantPort("web", 20000)))[0]; got.Port != 20000 {
		t.Error("the same node may have it at once")
	}
	udp := want("ssh")
	udp.Type = tables.UDP
	if got := must(t, b, alice, request("r4", udp))[0]; got.Type != tables.UDP || len(b.Of(alice)) != 2 {
		t.Errorf("with another protocol: %+v", got)
	}
	w.now = w.now.Add(lease.Quarantine)
	if got := must(t, b, bob, request("r", wantPort("web", 20002)))[0]; got.Port != 20002 {
		t.Error("not free after the quarantine")
	}
}

// A mapping that was renamed takes its port along, once the old name let go.
func TestReserve_renamed(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	l := must(t, b, alice, request("r1", wantPort("ssh", 20000)))[0]
	if _, err := b.Reserve(alice, request("r2", wantPort("sshd", 20000))); codeOf(err) != peerapi.CodePortTaken {
		t.Errorf("while ssh has a lease: %v", err)
	}
	if err := b.Release(alice, []string{l.ID}); err != nil {
		t.Fatal(err)
	}
	if got := must(t, b, alice, request("r3", wantPort("sshd", 20000)))[0]; got.Port != 20000 {
		t.Errorf("got %d", got.Port)
	}
	if s := b.Of(alice); len(s) != 1 || s[0].Name != "sshd" || len(w.db) != 1 {
		t.Errorf("has %+v, on disk %v", s, w.db)
	}
}

func TestReserve_reclaims(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	take := func(n int) error {
		w.now = w.now.Add(time.Second)
		_, err := b.Reserve(nodeID(n), request("r", want("ssh")))
		return err
	}
	for _, n := range []int{0, 2, 1} { // node 1 last, on 20002
		if err := take(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := take(3); codeOf(err) != peerapi.CodePoolFull {
		t.Fatalf("all ports are leased: %v", err)
	}
	w.now = w.now.Add(lease.Hold)
	if err := take(3); codeOf(err) != peerapi.CodePoolFull {
		t.Fatalf("all ports are in quarantine: %v", err)
	}
	w.now = w.now.Add(lease.Quarantine)
	// Node 0 is the oldest, but frps has its port. Node 2 comes back for a
	// moment, so node 1 is the next.
	if err := take(2); err != nil {
		t.Fatal(err)
	}
	w.frps[port{tables.TCP, 20000}] = lease.Online{Node: nodeID(0), Name: "ssh", Type: tables.TCP, Port: 20000}
	b = reopen(t, w, b, pool3)
	w.now = w.now.Add(lease.Hold + lease.Quarantine) // a restart gives every lease 30 s
	if _, err := b.Observe(w.now, w.listing()); err != nil {
		t.Fatal(err)
	}
	if err := take(3); err != nil {
		t.Fatal(err)
	}
	if s, _ := b.Get(nodeID(3), "ssh"); s.Port != 20002 || len(b.Of(nodeID(1))) != 0 || len(b.Of(nodeID(0))) != 1 {
		t.Errorf("node 3 got %d", s.Port)
	}
	// What nobody saw is found out by the guard.
	delete(w.frps, port{tables.TCP, 20000})
	w.thief[port{tables.TCP, 20000}] = true
	if _, err := b.Observe(w.now, nil); err != nil {
		t.Fatal(err)
	}
	if err := take(4); err != nil {
		t.Fatal(err)
	}
	if s, _ := b.Get(nodeID(4), "ssh"); s.Port != 20001 || len(b.Of(nodeID(0))) != 1 {
		t.Errorf("node 4 got %d", s.Port)
	}
}

// A guard that outlived its lease, since nobody looked, is in nobody's way.
func TestReserve_reclaimsWithoutALook(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(tables.PortRange{First: 20000, Last: 20000}))
	must(t, b, alice, request("r1", want("ssh")))
	w.now = w.now.Add(lease.Hold + lease.Quarantine)
	if _, err := b.Reserve(bob, request("r", wantPort("web", 20000))); codeOf(err) != peerapi.CodePortTaken {
		t.Errorf("a certain port that is reserved for another node: %v", err)
	}
	if l := must(t, b, bob, request("r", want("web")))[0]; l.Port != 20000 || len(b.Of(alice)) != 0 || len(w.guards) != 1 {
		t.Errorf("got %+v", l)
	}
}

// What one request gets for one name it cannot get for another.
func TestReserve_withinOneRequest(t *testing.T) {
	setup := func() (*world, *lease.Book) {
		w := newWorld()
		b := open(t, w.options(pool3))
		must(t, b, alice, request("r1", wantPort("a", 20000), wantPort("b", 20001), wantPort("c", 20002)))
		w.now = w.now.Add(lease.Hold + lease.Quarantine)
		return w, b
	}
	_, b := setup()
	if _, err := b.Reserve(alice, request("r2", want("a"), want("b"), want("c"), want("d"))); codeOf(err) != peerapi.CodePoolFull {
		t.Errorf("four names on three ports: %v", err)
	}
	for _, req := range []peerapi.ReserveRequest{
		request("r2", want("a"), wantPort("d", 20000)),
		request("r2", wantPort("a", 20003), wantPort("d", 20000)),
		request("r2", wantPort("a", 20001), wantPort("b", 20000)),
	} {
		if got, err := b.Reserve(alice, req); codeOf(err) != peerapi.CodePortTaken {
			t.Errorf("%+v: got %v, %v", req.Wants, ports(got), err)
		}
	}
	for _, s := range b.Of(alice) {
		if err := b.Admit(alice, s.Name, s.Type, s.Port, s.LeaseID); err != nil {
			t.Errorf("after refusals: %v", err)
		}
	}
	_, b = setup()
	got := ports(must(t, b, alice, request("r2", wantPort("d", 20000), want("b"))))
	if diff := cmp.Diff([]uint16{20000, 20001}, got); diff != "" {
		t.Error(diff)
	}
	w, _ := setup()
	clear(w.guards)
	b = open(t, w.options(tables.PortRange{First: 20000, Last: 20003}))
	w.now = w.now.Add(lease.Hold)
	got = ports(must(t, b, alice, request("r2", wantPort("d", 20000), want("a"))))
	if diff := cmp.Diff([]uint16{20000, 20003}, got); diff != "" {
		t.Error(diff)
	}
}

// frps may have a port in a way that does not keep a guard from it.
func TestReserve_listedByFRPS(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	must(t, b, alice, request("r1", wantPort("ssh", 20001)))
	w.now = w.now.Add(lease.Hold + lease.Quarantine)
	squatters := []lease.Online{{Node: bob, Name: "x", Type: tables.TCP, Port: 20000}, {Node: bob, Name: "y", Type: tables.TCP, Port: 20001}}
	if _, err := b.Observe(w.now, squatters); err != nil {
		t.Fatal(err)
	}
	if got := ports(must(t, b, bob, request("r", want("web")))); !slices.Equal(got, []uint16{20002}) {
		t.Errorf("got %v", got)
	}
	if _, err := b.Reserve(nodeID(3), request("r", want("web"))); codeOf(err) != peerapi.CodePoolFull {
		t.Errorf("got %v", err)
	}
}

// A server that restarts asks anew while its frpc runs on.
func TestReserve_whileItWorks(t *testing.T) {
	w, b, l := opened(t)
	renew(t, b, l)
	w.now = w.now.Add(time.Minute)
	observe(t, w, b)
	got := must(t, b, alice, request("r2", want("ssh")))[0]
	if got.Port != l.Port || got.ID != l.ID || got.Guarded || got.TTL.Duration() != lease.TTL-time.Minute {
		t.Errorf("got %+v", got)
	}
	if r := renew(t, b, l); !r.Online {
		t.Errorf("not online any more: %s", r.Reason)
	}
}

// reopen is a restart of p2prc beside a running frps.
func reopen(t *testing.T, w *world, old *lease.Book, pool tables.PortRange) *lease.Book {
	t.Helper()
	old.Close()
	if len(w.guards) != 0 {
		t.Errorf("%d guards are left after Close", len(w.guards))
	}
	b := open(t, w.options(pool))
	if _, err := b.Observe(w.now, w.listing()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReserve_neverUsedPortsFirst(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(tables.PortRange{First: 20000, Last: 20009}))
	var got []uint16
	for i := range 9 {
		l := must(t, b, alice, request("r", want(fmt.Sprintf("n%d", i))))[0]
		got = append(got, l.Port)
		if err := b.Release(alice, []string{l.ID}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(lease.Hold + lease.Quarantine)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 9 {
		t.Errorf("a port was reclaimed while others were never used: %v", got)
	}
	if err := b.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(lease.Quarantine)
	if l := must(t, b, bob, request("r", want("ssh")))[0]; l.Port != 20009 {
		t.Errorf("got %d, given up a minute ago, and not 20009, never used", l.Port)
	}
}

func TestReserve_quota(t *testing.T) {
	w := newWorld()
	o := w.options(tables.PortRange{First: 20000, Last: 20099})
	o.Open = true
	b := open(t, o)
	for i := range lease.MaxPortsOpen {
		w.now = w.now.Add(time.Second)
		l := must(t, b, alice, request("r", wantPort(fmt.Sprintf("n%d", i), uint16(20000+i))))[0]
		if err := b.Release(alice, []string{l.ID}); err != nil {
			t.Fatal(err)
		}
	}
	must(t, b, alice, request("r", want("n0")))
	if l := must(t, b, alice, request("r", wantPort("renamed", 20001)))[0]; l.Port != 20001 {
		t.Errorf("a rename within the quota: %+v", l)
	}
	// What she does nothing with makes room, what was used longest ago first.
	must(t, b, alice, request("r", want("more")))
	if _, ok := b.Get(alice, "n2"); ok {
		t.Error("the oldest reservation is still there")
	}
	if _, ok := b.Get(alice, "n3"); !ok {
		t.Error("more reservations are gone than there was need for")
	}
	for i := 3; i < lease.MaxPortsOpen; i++ {
		must(t, b, alice, request("r", want(fmt.Sprintf("n%d", i))))
	}
	if _, err := b.Reserve(alice, request("r", want("one-more"))); codeOf(err) != peerapi.CodeQuota || len(w.guards) != lease.MaxPortsOpen {
		t.Errorf("leases count: %v, %d guards", err, len(w.guards))
	}
	must(t, b, bob, request("r", want("ssh")))
}

func TestReserve_proxyLostItsTables(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	first := must(t, b, alice, request("r1", wantPort("ssh", 20002)))[0]
	if err := admit(b, alice, first); err != nil {
		t.Fatal(err)
	}
	lost := func() *lease.Book {
		clear(w.db)
		w.died()
		b := open(t, w.options(pool3))
		b.FRPSGone()
		return b
	}
	signed := want("ssh")
	signed.Lease = first.Signed

	b = lost()
	if got := must(t, b, alice, request("r2", signed))[0]; got.Port != 20002 || got.ID != first.ID || !got.Guarded {
		t.Errorf("got %+v, want port 20002 under %s", got, first.ID)
	}
	b = lost()
	stolen := signed
	stolen.Another = true
	if got := must(t, b, alice, request("r2", stolen))[0]; got.Port == 20002 {
		t.Error("got the port that the node said was stolen")
	}
	b = lost()
	must(t, b, bob, request("r", wantPort("web", 20002)))
	if got := must(t, b, alice, request("r2", signed))[0]; got.Port == 20002 {
		t.Error("bob's port was given away")
	}
	for name, w2 := range map[string]peerapi.Want{
		"another node's":  {Name: "ssh", Type: tables.TCP, Lease: lease.Signed{Proxy: proxyID, Node: bob, Name: "ssh", Type: tables.TCP, Port: 20002, LeaseID: "x", Until: w.now}.Sign(sign)},
		"another name's":  {Name: "ssh", Type: tables.TCP, Lease: lease.Signed{Proxy: proxyID, Node: alice, Name: "web", Type: tables.TCP, Port: 20002, LeaseID: "x", Until: w.now}.Sign(sign)},
		"another proxy's": {Name: "ssh", Type: tables.TCP, Lease: lease.Signed{Proxy: bob, Node: alice, Name: "ssh", Type: tables.TCP, Port: 20002, LeaseID: "x", Until: w.now}.Sign(sign)},
		"forged":          {Name: "ssh", Type: tables.TCP, Lease: append(slices.Clone(first.Signed[:len(first.Signed)-1]), ^first.Signed[len(first.Signed)-1])},
	} {
		b = lost()
		if got := must(t, b, alice, request("r2", w2))[0]; got.Port != 20000 || got.ID == "x" {
			t.Errorf("%s signed lease got port %d under %s", name, got.Port, got.ID)
		}
	}

	// frps has run on: the port is the node's without a gap.
	w.frps[port{tables.TCP, 20002}] = lease.Online{Node: alice, Name: "ssh", Type: tables.TCP, Port: 20002}
	clear(w.db)
	w.died()
	b = open(t, w.options(pool3))
	if found, err := b.Observe(w.now, w.listing()); err != nil || len(found) != 1 || found[0].Kind != lease.Squatter {
		t.Errorf("found %v, %v", found, err)
	}
	if got := must(t, b, alice, request("r2", signed))[0]; got.Port != 20002 || got.Guarded {
		t.Errorf("got %+v", got)
	}
	if got, err := b.Renew(alice, []lease.Renewal{{LeaseID: first.ID}}); err != nil || !got[0].Online {
		t.Errorf("renewed %+v, %v", got, err)
	}
}

func TestReserve_diskFull(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	had := must(t, b, alice, request("r1", want("ssh")))[0]
	before := b.Of(alice)
	w.disk = errors.New("no space left on device")
	another := want("ssh")
	another.Another = true
	for _, req := range []peerapi.ReserveRequest{request("r2", want("web")), request("r3", another)} {
		_, err := b.Reserve(alice, req)
		if codeOf(err) != peerapi.CodeUnavailable || !errors.Is(err, w.disk) {
			t.Errorf("got %v", err)
		}
	}
	if diff := cmp.Diff(before, b.Of(alice)); diff != "" || len(w.guards) != 1 {
		t.Errorf("%d guards; the book changed: %s", len(w.guards), diff)
	}
	if err := admit(b, alice, had); err != nil {
		t.Errorf("the lease was lost: %v", err)
	}
}

// A host that is out of sockets has no free port, but none is stolen either.
func TestReserve_outOfSockets(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	w.now = w.now.Add(time.Hour)
	if _, err := b.Observe(w.now, nil); err != nil {
		t.Fatal(err)
	}
	w.guardErr = errors.New("too many open files")
	for _, req := range []peerapi.ReserveRequest{request("r2", want("ssh")), request("r3", want("ssh"), want("web"))} {
		if _, err := b.Reserve(alice, req); codeOf(err) != peerapi.CodeUnavailable || !errors.Is(err, w.guardErr) {
			t.Errorf("got %v", err)
		}
	}
	w.guardErr = nil
	if got := must(t, b, alice, request("r4", want("ssh")))[0]; got.Port != l.Port {
		t.Errorf("got %d, had %d", got.Port, l.Port)
	}
}

func BenchmarkReserve1000(b *testing.B) {
	wants := make([]peerapi.Want, 1000)
	for i := range wants {
		wants[i] = want(fmt.Sprintf("port-%d", i))
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			w := newWorld()
			book := open(b, w.options(tables.PortRange{First: 20000, Last: 29999}))
			b.StartTimer()
			must(b, book, alice, request("r", wants...))
		}
	})
	b.Run("again", func(b *testing.B) {
		book := open(b, newWorld().options(tables.PortRange{First: 20000, Last: 29999}))
		for b.Loop() {
			must(b, book, alice, request("r", wants...))
		}
	})
	b.Run("pool nearly full", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			w := newWorld()
			book := open(b, w.options(tables.PortRange{First: 20000, Last: 29999}))
			for n := range 9 {
				must(b, book, nodeID(n), request("r", wants...))
			}
			w.now = w.now.Add(time.Hour)
			must(b, book, nodeID(9), request("r", wants[:900]...))
			b.StartTimer()
			must(b, book, alice, request("r", wants...))
		}
	})
}
