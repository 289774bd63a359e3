package record_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"p2prc/tables/record"
)

// drawRecord draws one of the few records that three owners may make, so that
// they meet: serials are low, some are signed twice, some take back.
func drawRecord(t *rapid.T, issued time.Time) []byte {
	proxy := keyOf(0)
	k := keyOf(rapid.IntRange(0, 2).Draw(t, "owner"))
	serial := rapid.Uint64Range(1, 6).Draw(t, "serial")
	name := rapid.SampledFrom([]string{"web", "ssh"}).Draw(t, "name")
	twin := rapid.IntRange(0, 1).Draw(t, "twin")
	var x text
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		x = claimText(proxy, k, name, serial, issued).with(fmt.Sprintf("server s%d", twin))
	case 1:
		x = proxyText(serial, issued).with(fmt.Sprintf("name n%d", twin))
	case 2:
		node := k
		if k == proxy {
			node = keyOf(1)
		}
		x = downText(proxy, node, name, serial, serial, issued).with(fmt.Sprintf("reason r%d", twin))
	case 3:
		x = goneText("claim/"+string(proxy.ID())+"/"+name, serial, issued)
	case 4:
		x = goneText("*", serial, issued)
	case 5:
		x = beatText(serial, issued).with(fmt.Sprintf("load %d", twin))
	case 6:
		x = domainText(proxy, k, name, serial, issued).with(fmt.Sprintf("server s%d", twin))
	}
	return x.sign(k)
}

// holds is what a set amounts to.
func holds(s *record.Set, now time.Time) []string {
	var out []string
	for _, r := range s.All(now) {
		out = append(out, r.Raw())
	}
	slices.Sort(out)
	return out
}

// Any order, any batches, anything twice: the same set, the same digests.
func TestMerge_anyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(t, "records")
		var all [][]byte
		for range n {
			all = append(all, drawRecord(t, start))
		}
		again := rapid.SliceOfN(rapid.SampledFrom(all), 0, 10).Draw(t, "again")
		one, two := record.New(record.Options{}), record.New(record.Options{})
		one.Merge(start, "", all...)
		for _, raw := range rapid.Permutation(append(again, all...)).Draw(t, "order") {
			two.Merge(start, "", raw)
		}
		if a, b := holds(one, start), holds(two, start); !slices.Equal(a, b) {
			t.Fatalf("they hold %d and %d records", len(a), len(b))
		}
		if one.Sum() != two.Sum() || one.Digests() != two.Digests() {
			t.Fatal("their digests differ")
		}
		// Idempotent: to merge all of it once more changes nothing.
		before := holds(one, start)
		if m := one.Merge(start, "", all...); len(m.Changed) > 0 || !slices.Equal(before, holds(one, start)) {
			t.Fatal("what was known changed it")
		}
		// What two sets hold, each merged into the other, is the same again.
		three := record.New(record.Options{})
		for _, raw := range holds(two, start) {
			three.Merge(start, "", []byte(raw))
		}
		if three.Sum() != one.Sum() {
			t.Fatal("a copy of it differs")
		}
	})
}

// Associative: whoever merges first, A with B or B with C, ends with the same.
func TestMerge_anyGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sets [3]*record.Set
		for i := range sets {
			sets[i] = record.New(record.Options{})
			for range rapid.IntRange(0, 8).Draw(t, "records") {
				sets[i].Merge(start, "", drawRecord(t, start))
			}
		}
		join := func(a, b *record.Set) *record.Set {
			s := record.New(record.Options{})
			for _, from := range []*record.Set{a, b} {
				for _, raw := range holds(from, start) {
					s.Merge(start, "", []byte(raw))
				}
			}
			return s
		}
		left := join(join(sets[0], sets[1]), sets[2])
		right := join(sets[0], join(sets[1], sets[2]))
		if left.Sum() != right.Sum() || !slices.Equal(holds(left, start), holds(right, start)) {
			t.Fatal("the grouping matters")
		}
	})
}

// history is sets that live through time, and what their owners said in it.
type history struct {
	now     time.Time
	signers []*record.Signer
	leases  map[record.Tunnel]time.Time // their ends
	said    [][]byte
	sets    []*record.Set
	seen    []map[record.Key]uint64 // the highest serial that each set ever held, by subject
	byes    []map[string]uint64     // and of goodbyes, by owner
}

func newHistory(t *rapid.T, sets int) *history {
	h := &history{now: start, leases: map[record.Tunnel]time.Time{}}
	for i := range 3 {
		s, err := record.NewSigner(record.SignerOptions{Key: keyOf(i), Now: func() time.Time { return h.now }})
		if err != nil {
			t.Fatal(err)
		}
		h.signers = append(h.signers, s)
	}
	for range sets {
		h.sets = append(h.sets, record.New(record.Options{}))
		h.seen = append(h.seen, map[record.Key]uint64{})
		h.byes = append(h.byes, map[string]uint64{})
	}
	return h
}

// say has an owner say something new, which reaches nobody yet.
func (h *history) say(t *rapid.T) {
	proxy := keyOf(0)
	i := rapid.IntRange(0, 2).Draw(t, "owner")
	tunnel := record.Tunnel{Node: keyOf(i).ID(), Proxy: proxy.ID(), Name: rapid.SampledFrom([]string{"web", "ssh"}).Draw(t, "name")}
	var b record.Body
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		// The lease that the node has, or a new one: both happen.
		until, ok := h.leases[tunnel]
		if !ok || !until.After(h.now) || rapid.Bool().Draw(t, "renewed") {
			until = h.now.Add(record.MaxLife)
			h.leases[tunnel] = until
		}
		signed := signedLease(proxy, keyOf(i), tunnel.Name, 20000, until)
		if rapid.Bool().Draw(t, "by domain") {
			signed = aSite(proxy, keyOf(i), tunnel.Name, until).Sign(proxy.Sign)
		}
		c, err := record.NewClaim(signed, proxy.Public(), record.Claim{Server: "home", Address: aProxy("gate", "198.51.100.7").Address})
		if err != nil {
			t.Fatal(err)
		}
		b = c
	case 1:
		b = aProxy("gate", "198.51.100.7")
	case 2:
		b = &record.Down{Tunnel: tunnel, Claim: 1, Reason: "x", Since: h.now}
	case 3:
		b = &record.Gone{Of: tunnel.ClaimSubject()}
	case 4:
		b = &record.Gone{Of: record.Everything}
	case 5:
		b = &record.Heartbeat{}
	}
	r, err := h.signers[i].Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	h.said = append(h.said, []byte(r.Raw()))
}

// hear gives one set any of what was ever said, old or new.
func (h *history) hear(t *rapid.T) {
	if len(h.said) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.sets)-1).Draw(t, "set")
	h.sets[i].Merge(h.now, "", rapid.SampledFrom(h.said).Draw(t, "record"))
	h.check(t, i)
}

// meet brings two sets together by their digests, one way.
func (h *history) meet(a, b *record.Set) {
	ours, theirs := a.Digests(), b.Digests()
	for i := range ours {
		if ours[i] == theirs[i] {
			continue
		}
		lacks, want := a.Compare(byte(i), b.Bucket(byte(i)))
		for _, r := range a.Pick(lacks) {
			b.Merge(h.now, "", []byte(r.Raw()))
		}
		for _, r := range b.Pick(want) {
			a.Merge(h.now, "", []byte(r.Raw()))
		}
	}
}

// check: a set never goes back behind what it held, not even after a goodbye
// or after what it held has expired.
func (h *history) check(t *rapid.T, i int) {
	h.checkProxies(t, h.sets[i])
	for _, r := range h.sets[i].All(h.now) {
		if r.Serial < h.seen[i][r.Key()] {
			t.Fatalf("set %d is back at serial %d of %s after %d", i, r.Serial, r.Subject, h.seen[i][r.Key()])
		}
		h.seen[i][r.Key()] = r.Serial
		owner := string(r.Owner)
		if r.Subject == record.Everything {
			h.byes[i][owner] = max(h.byes[i][owner], r.Serial)
		}
	}
	for _, r := range h.sets[i].All(h.now) {
		if bye := h.byes[i][string(r.Owner)]; r.Serial < bye {
			t.Fatalf("set %d holds serial %d of %s after the goodbye %d", i, r.Serial, r.Subject, bye)
		}
	}
}

// checkProxies: those that are found by themselves are those that all records have.
func (h *history) checkProxies(t *rapid.T, s *record.Set) {
	want := map[record.Kind]map[record.Hash]bool{record.KindProxy: {}, record.KindHeartbeat: {}}
	for _, r := range s.All(h.now) {
		if of := want[r.Kind()]; of != nil {
			of[r.Hash()] = true
		}
	}
	got := map[record.Kind]map[record.Hash]bool{record.KindProxy: {}, record.KindHeartbeat: {}}
	for _, p := range s.Proxies(h.now) {
		got[record.KindProxy][p.Record.Hash()] = true
	}
	for _, r := range s.Beats(h.now) {
		got[record.KindHeartbeat][r.Hash()] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func (h *history) pass(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(1, 8*3600).Draw(t, "seconds")) * time.Second)
}

// N sets hear anything in any order, meet in any pairs, are cut apart, lose
// time; when they have met once more they agree, whatever was before.
func TestMerge_converges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t, rapid.IntRange(2, 5).Draw(t, "sets"))
		t.Repeat(map[string]func(*rapid.T){
			"say":  h.say,
			"hear": h.hear,
			"pass": h.pass,
			"expire": func(t *rapid.T) {
				h.sets[rapid.IntRange(0, len(h.sets)-1).Draw(t, "set")].Expire(h.now)
			},
			"meet": func(t *rapid.T) {
				a, b := rapid.IntRange(0, len(h.sets)-1).Draw(t, "a"), rapid.IntRange(0, len(h.sets)-1).Draw(t, "b")
				h.meet(h.sets[a], h.sets[b])
				h.check(t, a)
				h.check(t, b)
			},
			"": func(t *rapid.T) {},
		})
		for _, s := range h.sets {
			s.Expire(h.now)
		}
		for range 2 { // there and back again
			for _, s := range h.sets[1:] {
				h.meet(h.sets[0], s)
			}
		}
		for i, s := range h.sets {
			h.check(t, i)
			if s.Sum() != h.sets[0].Sum() {
				t.Fatalf("set %d holds %d records, set 0 %d", i, s.Len(), h.sets[0].Len())
			}
		}
	})
}
