package mesh_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/mesh"
)

func TestMesh_recordReachesEveryone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(10, nil)
	w.mu.Lock()
	for _, n := range all {
		n.fetches = false
	}
	w.mu.Unlock()
	record := make([]byte, mesh.MaxRecord)
	copy(record, "something new")
	all[3].Deliver(record)
	all[3].mesh.Broadcast(record)
	w.await("all know", func() bool { return allKnow(all, record) })
}

func allKnow(all []*node, record []byte) bool {
	return !slices.ContainsFunc(all, func(n *node) bool { return !n.knows(record) })
}

// Nobody but the dead one itself has to do anything for it to be lost, and
// nobody but the others for it to come back.
func TestMesh_killedMemberIsLostAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probeFast = true
	all := w.build(5, nil)
	dead, others := all[4], all[:4]
	w.await("each has a connection to it", func() bool { return w.paired(len(all)) })
	dead.kill()
	took := w.await("the others cannot dial it", func() bool {
		return !slices.ContainsFunc(others, func(n *node) bool {
			return !n.heard(mesh.Event{Kind: mesh.Lost, Seed: dead.seed()})
		})
	})
	t.Logf("lost after %s", took)
	took += w.await("the others declare it dead", func() bool { return gone(others, dead) })
	t.Logf("declared dead after %s, at a fifth of the usual pace", took)

	w.part(nil)
	ln, err := net.Listen("tcp4", dead.at.String())
	if err != nil {
		t.Fatal(err)
	}
	back := w.start(ln, dead.key, nil) // without knowing anybody
	back.mesh.Hurry()
	back.serve(ln)
	all[4] = back
	w.await("it is back", func() bool { return complete(all) })
}

// gone reports whether those who are left heard that somebody went.
func gone(left []*node, who *node) bool {
	for _, n := range left {
		if n.has(who) || !n.heard(mesh.Event{Kind: mesh.Left, Seed: who.seed()}) {
			return false
		}
	}
	return true
}

func TestMesh_goodbye(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(4, nil)
	start := time.Now()
	all[0].stop()
	// By its word, not by probes: those would need a second and more.
	w.await("the others heard", func() bool { return gone(all[1:], all[0]) })
	t.Logf("gone and known to be after %s", time.Since(start))
	if got := all[0].mesh.Members(); len(got) > 0 {
		t.Errorf("it still has %v", got)
	}
}

func TestMesh_partsAndHeals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probeFast = true
	all := w.build(6, nil)
	left, right := all[:3], all[3:]
	side := map[identity.ID]bool{}
	for _, n := range left {
		side[n.id()] = true
	}
	w.part(func(a, b identity.ID) bool { return side[a] != side[b] })
	w.await("the halves lose each other", func() bool {
		return complete(left) && complete(right)
	})
	// What is broadcast now might wait for a peer that is out of reach, and
	// cross by itself.
	one, two := []byte("from the left"), []byte("from the right")
	for i := range left {
		left[i].Deliver(one)
		right[i].Deliver(two)
	}
	w.mu.Lock()
	for _, n := range all {
		clear(n.differs)
	}
	w.mu.Unlock()
	w.part(nil)
	w.await("all are together", func() bool { return complete(all) })
	w.await("all know both", func() bool { return allKnow(all, one) && allKnow(all, two) })
	across := 0
	w.mu.Lock()
	for _, n := range all {
		for peer := range n.differs {
			if side[n.id()] != side[peer] {
				across++
			}
		}
	}
	w.mu.Unlock()
	if across == 0 {
		t.Error("nobody was told that the other half knows something else")
	}
}

// A node whose record nobody has is never let in, whoever it knows and however
// often it comes.
func TestMesh_unvouchedStaysOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(3, nil)
	before := w.dialsTo(all[0].at)
	stranger := w.join(func(o *mesh.Options) { o.Record = nil }, all...)
	w.await("it tried", func() bool { return w.dialsTo(all[0].at) >= before+4 })
	if got := stranger.mesh.Members(); len(got) > 0 {
		t.Errorf("it got in: %v", got)
	}
	for _, n := range all {
		if n.has(stranger) {
			t.Error("a member has it")
		}
	}
	// Its record is all that was missing.
	all[1].Deliver(stranger.record())
	all[1].mesh.Broadcast(stranger.record())
	w.await("it is in", func() bool { return complete(append(all, stranger)) })
}

// A member that everyone else vouches for is none for a node that does not.
func TestMesh_nobodyElseCanVouch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(2, nil)
	ln, err := w.listen()
	if err != nil {
		t.Fatal(err)
	}
	last := w.start(ln, identity.NewKey(), nil)
	last.mesh.Hurry()
	var asked atomic.Int32
	wary := w.join(func(o *mesh.Options) {
		vouched := o.Vouched
		o.Vouched = func(id identity.ID, at netip.AddrPort) bool {
			if id == last.id() {
				asked.Add(1)
				return false
			}
			return vouched(id, at)
		}
	}, all...)
	w.await("it is in", func() bool { return complete(append(all, wary)) })
	last.Deliver(all[0].record())
	last.serve(ln)
	w.await("the others have it", func() bool { return all[0].has(last) && all[1].has(last) && asked.Load() > 10 })
	if wary.has(last) {
		t.Error("it was let in by somebody else's word")
	}
}

func TestMesh_tokens(t *testing.T) {
	t.Parallel()
	token := identity.NewToken()
	for _, tt := range []struct {
		name  string
		token identity.Token
		in    bool
	}{
		{"the same token", token, true},
		{"another token", identity.NewToken(), false},
		{"no token", identity.Token{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) { twoTokens(t, token, tt.token, tt.in) })
		t.Run("from the inside, "+tt.name, func(t *testing.T) { twoTokens(t, tt.token, token, tt.in) })
	}
}

// twoTokens lets a node with one token come to a node with another.
func twoTokens(t *testing.T, here, there identity.Token, in bool) {
	w := newWorld(t)
	n := w.join(func(o *mesh.Options) { o.Token = here })
	other := w.join(func(o *mesh.Options) { o.Token = there }, n)
	if in {
		w.await("they are together", func() bool { return complete([]*node{n, other}) })
		return
	}
	w.await("it tried", func() bool { return w.dialsTo(n.at) >= 3 })
	if len(n.mesh.Members())+len(other.mesh.Members()) > 0 {
		t.Error("they are together")
	}
	if n.knows(other.record()) && !here.Zero() {
		t.Error("a private mesh took a stranger's record")
	}
}

// Whose record points at somebody else's address is not there.
func TestMesh_keyMustBeTheNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(2, nil)
	liar := mesh.Seed{ID: identity.NewKey().ID(), At: all[1].at}
	all[0].Deliver([]byte("proxy " + liar.String()))
	before := w.dialsTo(all[1].at)
	all[0].mesh.Join([]mesh.Seed{liar})
	w.await("it was tried", func() bool { return w.dialsTo(all[1].at) > before+1 })
	if got := all[0].mesh.Members(); len(got) != 1 || got[0] != all[1].seed() {
		t.Errorf("members %v", got)
	}
}

func TestMesh_addressFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.join(nil)
	asked := make(chan string, 100)
	other := w.join(func(o *mesh.Options) {
		o.Dial = (&net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
			select {
			case asked <- address:
			default:
			}
			return errors.New("not an address to dial")
		}}).DialContext
	}, n)
	for range 3 {
		if got := <-asked; got != n.at.String() {
			t.Errorf("%s was dialled", got)
		}
	}
	if len(n.mesh.Members())+len(other.mesh.Members()) > 0 {
		t.Error("they are together")
	}
}

// A record that gossip did not bring is missed at the next probes.
func TestMesh_missedRecordIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probeFast = true
	w.noPushPull = true
	all := w.build(4, nil)
	record := []byte("all but one heard this")
	for _, n := range all[1:] {
		n.Deliver(record)
	}
	w.await("all know", func() bool { return allKnow(all, record) })
}

func TestMesh_beatReachesEveryoneInTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(4, nil)
	record := []byte("beat")
	all[2].Deliver(record)
	all[2].mesh.Beat(record)
	w.await("all know", func() bool { return allKnow(all, record) })
}

func TestMesh_heard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probeFast = true
	began := time.Now()
	all := w.build(2, func(o *mesh.Options) { o.Differ = func(identity.ID) {} }) // two need no sync
	w.await("they heard each other", func() bool {
		return all[0].mesh.Heard(all[1].id()).After(began) && all[1].mesh.Heard(all[0].id()).After(began)
	})
	last := all[0].mesh.Heard(all[1].id())
	w.await("and do again", func() bool { return all[0].mesh.Heard(all[1].id()).After(last) })
	if at := all[0].mesh.Heard(identity.NewKey().ID()); !at.IsZero() {
		t.Errorf("a stranger was heard at %v", at)
	}
}

func TestMesh_beatInShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const head = "this is said each time: "
	var shortened, lengthened atomic.Int32
	all := w.build(4, func(o *mesh.Options) {
		o.Shorten = func(raw []byte) ([]byte, bool) {
			short, ok := bytes.CutPrefix(raw, []byte(head))
			if ok {
				shortened.Add(1)
			}
			return short, ok
		}
		o.Lengthen = func(short []byte) ([]byte, bool) {
			lengthened.Add(1)
			return append([]byte(head), short...), true
		}
	})
	for _, record := range []string{head + "beat", "this one has no head"} {
		all[2].Deliver([]byte(record))
		all[2].mesh.Beat([]byte(record))
		w.await(record, func() bool { return allKnow(all, []byte(record)) })
	}
	if n := shortened.Load(); n != 1 {
		t.Errorf("a beat was shortened %d times: it is passed on as it came", n)
	}
	if all[0].knows([]byte("beat")) {
		t.Error("what stands for a beat was taken for one")
	}
	// Who misses one fetches it; the next ones come all the same.
	for n := 0; lengthened.Load() < int32(len(all)-1) && n < 100; n++ {
		beat := fmt.Appendf(nil, "%sbeat %d", head, n)
		all[2].Deliver(beat)
		all[2].mesh.Beat(beat)
		w.await(string(beat), func() bool { return allKnow(all, beat) })
	}
	if n := lengthened.Load(); n < int32(len(all)-1) {
		t.Errorf("of 100 beats %d came by the mesh", n)
	}
}

func TestMesh_whatIsNoRecordIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(2, func(o *mesh.Options) { o.Differ = func(identity.ID) {} }) // two need no sync
	long := make([]byte, mesh.MaxRecord+1)
	all[0].mesh.Broadcast(long)
	all[0].mesh.Broadcast(nil)
	record := []byte("this one is")
	all[0].Deliver(record)
	all[0].mesh.Broadcast(record)
	w.await("the next is there", func() bool { return allKnow(all, record) })
	if all[1].knows(long) || all[1].knows(nil) {
		t.Error("it was sent")
	}
}

// Both ends may dial at once; in the end one connection carries the packets of
// both.
func TestMesh_oneConnectionForEachPair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(5, nil)
	w.await("each pair has one", func() bool { return w.paired(len(all)) })
}

// Whose record is withdrawn, or runs out, is out.
func TestMesh_noLongerVouchedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probeFast = true
	all := w.build(3, nil)
	w.mu.Lock()
	for _, n := range all[:2] {
		delete(n.vouched, all[2].seed())
	}
	w.mu.Unlock()
	w.await("the others lose it", func() bool { return gone(all[:2], all[2]) })
}

func TestMesh_servesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.build(2, nil)
	n := all[1]
	n.stop()
	w.await("it is gone", func() bool { return gone(all[:1], n) })
	ln, err := net.Listen("tcp4", n.at.String())
	if err != nil {
		t.Fatal(err)
	}
	n.serve(ln)
	w.await("it is back", func() bool { return complete(all) })
}

func TestNew_refuses(t *testing.T) {
	w := newWorld(t)
	ln, err := w.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	n := w.start(ln, identity.NewKey(), nil)
	good := mesh.Options{
		Key: n.key, Address: n.at, Vouched: n.Vouched, Known: n.Known,
		Deliver: n.Deliver, Digest: n.Digest, Differ: n.Differ,
	}
	if _, err := mesh.New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*mesh.Options){
		"no address": func(o *mesh.Options) { o.Address = netip.AddrPort{} },
		"no Vouched": func(o *mesh.Options) { o.Vouched = nil },
		"no Digest":  func(o *mesh.Options) { o.Digest = nil },
	} {
		o := good
		change(&o)
		if _, err := mesh.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
