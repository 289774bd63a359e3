package lease_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

func TestAdmit(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	l := must(t, b, alice, request("r1", want("ssh"), want("web")))[0]
	tests := []struct {
		name  string
		admit func() error
		want  string // in the error
	}{
		{"another node", func() error { return admit(b, bob, l) }, "no port is reserved for ssh here"},
		{"another name", func() error { return b.Admit(alice, "sshd", l.Type, l.Port, l.ID) }, "no port is reserved for sshd here"},
		{"another name's port", func() error { return b.Admit(alice, "web", l.Type, l.Port, l.ID) }, "web has TCP port"},
		{"another protocol", func() error { return b.Admit(alice, "ssh", tables.UDP, l.Port, l.ID) }, "ssh has TCP port"},
		{"any port", func() error { return b.Admit(alice, "ssh", l.Type, 0, l.ID) }, "ssh has TCP port"},
		{"another lease", func() error { return b.Admit(alice, "ssh", l.Type, l.Port, "x") }, "ssh has another lease by now"},
		{"no lease", func() error { return b.Admit(alice, "ssh", l.Type, l.Port, "") }, "ssh has another lease by now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.admit(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if len(w.guards) != 2 {
				t.Error("a guard was let go")
			}
		})
	}
	w.onCommit = func() { t.Error("the gate wrote to the disk") }
	for range 2 { // frpc logs in again
		if err := admit(b, alice, l); err != nil {
			t.Fatal(err)
		}
		if w.guards[port{l.Type, l.Port}] != nil {
			t.Fatal("the guard is still there when frps is let in")
		}
	}
	w.now = w.now.Add(lease.Hold + time.Hour)
	if err := admit(b, alice, l); err != nil {
		t.Errorf("the reservation holds still: %v", err)
	}
	if s, _ := b.Get(alice, "ssh"); s.Left != lease.Hold {
		t.Errorf("renewed for %v", s.Left)
	}
	if s, _ := b.Get(alice, "web"); s.Left != 0 {
		t.Errorf("web, which did not come, has %v left", s.Left)
	}
}

func TestAdmit_afterRelease(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	if err := b.Release(alice, []string{l.ID}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{l.ID, ""} {
		if err := b.Admit(alice, "ssh", l.Type, l.Port, id); err == nil || !strings.Contains(err.Error(), "given back") {
			t.Errorf("lease %q: %v", id, err)
		}
	}
}

func TestAdmit_portNoLongerLent(t *testing.T) {
	w := newWorld()
	l := must(t, open(t, w.options(pool3)), alice, request("r1", wantPort("ssh", 20002)))[0]
	w.died()
	smaller := tables.PortRange{First: 20000, Last: 20001}
	b := open(t, w.options(smaller))
	b.FRPSGone()
	if err := admit(b, alice, l); err == nil || !strings.Contains(err.Error(), "no longer lent") {
		t.Errorf("got %v", err)
	}
	if got, err := b.Renew(alice, []lease.Renewal{{LeaseID: l.ID}}); err != nil || got[0].TTL != 0 || got[0].Reason == "" {
		t.Errorf("renewed %+v, %v", got, err)
	}
	if len(w.guards) != 0 {
		t.Error("a port outside the pool is held")
	}
	if got := must(t, b, alice, request("r2", want("ssh")))[0]; got.Port == l.Port {
		t.Error("a port outside the pool was granted")
	}
}

// The gate must answer while a commit takes its time, and must not let a node
// onto a port that the commit is taking away from it.
func TestAdmit_duringACommit(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	l := must(t, b, alice, request("r1", want("ssh"), want("web")))
	another := want("ssh")
	another.Another = true
	w.onCommit = func() {
		if err := admit(b, alice, l[1]); err != nil {
			t.Errorf("a lease that the commit does not touch: %v", err)
		}
		if err := admit(b, alice, l[0]); err == nil || !strings.Contains(err.Error(), "is being taken") {
			t.Errorf("a lease that is given up: %v", err)
		}
	}
	must(t, b, alice, request("r2", another))

	w.onCommit = nil
	w.disk = errors.New("no space left on device")
	another.Name = "web"
	if _, err := b.Reserve(alice, request("r3", another)); codeOf(err) != peerapi.CodeUnavailable {
		t.Fatal(err)
	}
	if err := admit(b, alice, l[1]); err != nil {
		t.Errorf("a lease that was not given up after all: %v", err)
	}
}

// The same for a reservation that another node is about to get.
func TestAdmit_whileReclaimed(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(tables.PortRange{First: 20000, Last: 20000}))
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	w.now = w.now.Add(lease.Hold + lease.Quarantine)
	w.disk = errors.New("no space left on device")
	w.onCommit = func() {
		if err := admit(b, alice, l); err == nil || !strings.Contains(err.Error(), "is being taken") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := b.Reserve(bob, request("r", want("web"))); codeOf(err) != peerapi.CodeUnavailable {
		t.Fatal(err)
	}
	w.onCommit = nil
	if err := admit(b, alice, l); err != nil {
		t.Errorf("it was not reclaimed after all: %v", err)
	}
}

// As frps 0.65 and 0.70.1 tell it on a reload: the new proxy, then the end of
// the old one.
func TestClosed_afterReload(t *testing.T) {
	w := newWorld()
	b := open(t, w.options(pool3))
	b.FRPSGone()
	l := must(t, b, alice, request("r1", want("ssh")))[0]
	up := lease.Online{Node: alice, Name: "ssh", Type: l.Type, Port: l.Port}
	for range 2 {
		if err := admit(b, alice, l); err != nil {
			t.Fatal(err)
		}
	}
	w.frps[port{l.Type, l.Port}] = up
	b.Seen(w.listing())
	b.Closed(alice, "ssh")
	b.Closed(bob, "unknown")
	online := func() bool {
		got, err := b.Renew(alice, []lease.Renewal{{LeaseID: l.ID}})
		if err != nil || got[0].TTL != lease.TTL {
			t.Fatalf("renewed %+v, %v", got, err)
		}
		return got[0].Online
	}
	if online() {
		t.Error("taken for online although frps closed it")
	}
	b.Seen(w.listing())
	if !online() {
		t.Error("not online although frps lists it")
	}
}
