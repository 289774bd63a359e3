package record_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/record"
)

func TestSigner_exactBytes(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	now := func() time.Time { return start }
	ms := uint64(start.UnixMilli())
	until := start.Add(record.MaxLife)
	lender := aProxy("gate", "198.51.100.7")
	lender.HTTPPort, lender.HTTPSPort = 80, 443
	for _, tc := range []struct {
		name string
		body record.Body
		want text
	}{
		{"proxy", aProxy("gate", "198.51.100.7"), proxyText(ms, start)},
		{"proxy that lends domains", lender, proxyText(ms, start).with("http-port 80").with("https-port 443")},
		{"heartbeat", &record.Heartbeat{Free: 90, Load: 10}, beatText(ms, start)},
		{"gone", &record.Gone{Of: record.Everything}, goneText("*", ms, start)},
	} {
		t.Run(tc.name, func(t *testing.T) { sameBytes(t, signer(t, proxy, now), tc.body, tc.want.sign(proxy)) })
	}
	t.Run("claim", func(t *testing.T) {
		sameBytes(t, signer(t, node, now), aClaim(t, proxy, node, "web", until), claimText(proxy, node, "web", ms, start).sign(node))
	})
	t.Run("own port of a standby", func(t *testing.T) {
		c := *aClaim(t, proxy, node, "p2prc", until)
		c.Node, c.Role = true, record.Standby
		sameBytes(t, signer(t, node, now), &c, claimText(proxy, node, "p2prc", ms, start).with("node yes").with("role standby").sign(node))
	})
	t.Run("down", func(t *testing.T) {
		d := &record.Down{Tunnel: record.Tunnel{Node: node.ID(), Proxy: proxy.ID(), Name: "web"}, Claim: 7, Reason: "the cable is out", Since: start}
		sameBytes(t, signer(t, node, now), d, downText(proxy, node, "web", 7, ms, start).sign(node))
	})
}

func sameBytes(t *testing.T, s *record.Signer, b record.Body, want []byte) {
	t.Helper()
	r, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	if r.Raw() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", r.Raw(), want)
	}
	again, err := record.Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Verify(); err != nil {
		t.Error(err)
	}
}

// What only one side may say, or says twice, or in other words, is no record.
func TestParse_malformed(t *testing.T) {
	proxy, node, other := keyOf(0), keyOf(1), keyOf(2)
	good := claimText(proxy, node, "web", 7, start)
	change := func(f func(x *text)) []byte {
		x := good
		f(&x)
		return x.sign(node)
	}
	replace := func(old, with string) []byte {
		msg := bytes.Replace(good.message(node), []byte(old), []byte(with), 1)
		return append(msg, node.Sign(msg)...)
	}
	for name, raw := range map[string][]byte{
		"nothing":                            nil,
		"a signature only":                   make([]byte, 64),
		"too long":                           good.with("zz " + strings.Repeat("x", record.MaxSize)).sign(node),
		"another prefix":                     replace("record-v1", "record-v2"),
		"another's key":                      replace(base64.RawStdEncoding.EncodeToString(node.Public()), base64.RawStdEncoding.EncodeToString(other.Public())),
		"no key":                             replace(base64.RawStdEncoding.EncodeToString(node.Public()), "AAAA"),
		"another's lease":                    claimText(proxy, other, "web", 7, start).sign(node),
		"another name than leased":           change(func(x *text) { x.subject = strings.Replace(x.subject, "/web", "/ssh", 1) }),
		"another subject":                    change(func(x *text) { x.subject = "proxy" }),
		"a serial with a zero":               replace("\n7\n", "\n07\n"),
		"a serial with a sign":               replace("\n7\n", "\n+7\n"),
		"a serial that is none":              replace("\n7\n", "\n18446744073709551616\n"),
		"a time in other words":              replace("12:00:00Z", "12:00:00+00:00"),
		"lives too long":                     proxyText(1, start).expiring(start.Add(record.MaxLife + time.Second)).sign(node),
		"lives too short":                    proxyText(1, start).expiring(start.Add(time.Hour)).sign(node),
		"a claim that ends before its lease": good.expiring(start.Add(time.Hour)).sign(node),
		"a claim of an ended lease":          claimText(proxy, node, "web", 7, start).issuedAt(start.Add(record.MaxLife)).sign(node),
		"ends before it begins":              change(func(x *text) { x.expires = x.issued }),
		"outlives its lease":                 change(func(x *text) { x.issued, x.expires = x.issued.Add(time.Hour), x.expires.Add(time.Second) }),
		"a role of its own":                  good.with("role chief").sign(node),
		"an address of IPv6":                 good.with("address 2001:db8::1").sign(node),
		"an address in other words":          good.with("address 198.51.100.007").sign(node),
		"a bad server name":                  good.with("server {{.Env}}").sign(node),
		"a flag that says no":                good.with("node no").sign(node),
		"a lease that is none":               good.with("lease AAAA").sign(node),
		"a field twice":                      change(func(x *text) { x.fields = append(x.fields, "server home") }),
		"fields out of order":                change(func(x *text) { x.fields = append([]string{"zz 1"}, x.fields...) }),
		"a field without a value":            change(func(x *text) { x.fields = append(x.fields, "zz") }),
		"a field in capitals":                change(func(x *text) { x.fields = append(x.fields, "ZZ 1") }),
		"an escape":                          good.with("zz \x1b[31m").sign(node),
		"a mark that turns text":             good.with("zz a\u202eb").sign(node),
		"broken UTF-8":                       good.with("zz \xff").sign(node),
		"a carriage return":                  good.with("zz a\r").sign(node),
		"a missing field":                    change(func(x *text) { x.fields = x.fields[1:] }),
		"too many fields": change(func(x *text) {
			for i := range 40 {
				x.fields = append(x.fields, "zz"+string(rune('a'+i/26))+string(rune('a'+i%26))+" 1")
			}
		}),
		"a down by a stranger":             downText(proxy, node, "web", 7, 8, start).sign(other),
		"a heartbeat for an hour":          text{kind: "heartbeat", subject: "heartbeat", serial: 1, issued: start, expires: start.Add(time.Hour), fields: []string{"free 1", "load 1"}}.sign(node),
		"a heartbeat taken back":           goneText("heartbeat", 1, start).sign(node),
		"nothing taken back":               goneText("", 1, start).sign(node),
		"something taken back for an hour": goneText("*", 1, start).expiring(start.Add(time.Hour)).sign(node),
		"a pool upside down":               proxyText(1, start).with("pool 3-2").sign(node),
		"a pool in other words":            proxyText(1, start).with("pool 020000-29999").sign(node),
		"an admission of its own":          proxyText(1, start).with("admission all").sign(node),
		"an HTTP port 0":                   proxyText(1, start).with("http-port 0").sign(node),
		"an HTTPS port beyond":             proxyText(1, start).with("https-port 65536").sign(node),
		"an HTTP port in other words":      proxyText(1, start).with("http-port 080").sign(node),
		"port 0":                           proxyText(1, start).with("node-port 0").sign(node),
		"more ports than there are":        proxyText(1, start).with("free 131072").sign(node),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := record.Parse(raw); !errors.Is(err, record.ErrMalformed) {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	if _, err := record.Parse(good.sign(node)); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestSet_keepsForgedOut(t *testing.T) {
	proxy, node, other := keyOf(0), keyOf(1), keyOf(2)
	good := claimText(proxy, node, "web", 7, start)
	badSignature := good.sign(node)
	badSignature[len(badSignature)-1] ^= 1
	msg := good.message(node)
	badLease := signedLease(proxy, node, "web", 20000, start.Add(record.MaxLife))
	badLease[len(badLease)-1] ^= 1
	s := record.New(record.Options{})
	for name, raw := range map[string][]byte{
		"a flipped bit":                       badSignature,
		"signed by another":                   append(msg, other.Sign(msg)...),
		"a lease that the proxy did not sign": good.with("lease " + base64.RawStdEncoding.EncodeToString(badLease)).sign(node),
	} {
		for range 2 {
			m := s.Merge(start, "", raw)
			if len(m.Changed) != 0 || len(m.Rejected) != 1 || !errors.Is(m.Rejected[0].Err, record.ErrForged) || !errors.Is(m.Bad(), record.ErrForged) {
				t.Errorf("%s: %+v", name, m)
			}
		}
	}
	if s.Len() != 0 {
		t.Errorf("%d records entered", s.Len())
	}
}

// Bytes that were verified once, good or bad, are not verified again.
func TestSet_verifiesOnce(t *testing.T) {
	n := 0
	bad := errors.New("bad")
	forged := beatText(1, start).sign(keyOf(1))
	s := record.New(record.Options{Verify: func(r *record.Record) error {
		n++
		if r.Raw() == string(forged) {
			return bad
		}
		return nil
	}})
	old := proxyText(1, start).sign(keyOf(0))
	for range 3 {
		s.Merge(start, "", old, old, proxyText(2, start).sign(keyOf(0)), old, forged, forged)
	}
	if n != 3 {
		t.Errorf("%d verifications for 3 records", n)
	}
}

func TestSet_clock(t *testing.T) {
	k := keyOf(0)
	for _, tc := range []struct {
		name string
		now  time.Time
		raw  []byte
		want error
	}{
		{"now", start, proxyText(1, start).sign(k), nil},
		{"a clock that is a bit ahead", start.Add(-record.MaxSkew), proxyText(1, start).sign(k), nil},
		{"the future", start.Add(-record.MaxSkew - time.Second), proxyText(1, start).sign(k), record.ErrFuture},
		{"1970", time.Unix(0, 0), proxyText(1, start).sign(k), record.ErrFuture},
		{"the last second", start.Add(record.MaxLife - time.Second), proxyText(1, start).sign(k), nil},
		{"expired", start.Add(record.MaxLife), proxyText(1, start).sign(k), record.ErrExpired},
		{"a heartbeat in time", start.Add(record.BeatLife - time.Second), beatText(1, start).sign(k), nil},
		{"a heartbeat replayed", start.Add(record.BeatLife), beatText(1, start).sign(k), record.ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := record.New(record.Options{}).Merge(tc.now, "", tc.raw)
			switch {
			case tc.want == nil && len(m.Changed) == 1:
			case len(m.Rejected) == 1 && errors.Is(m.Rejected[0].Err, tc.want):
				if m.Bad() != nil {
					t.Errorf("an honest node may send it: %v", m.Bad())
				}
			default:
				t.Errorf("got %+v", m)
			}
		})
	}
}

// A later version may say more. Its bytes go on as they came.
func TestSet_unknownFieldsGoOn(t *testing.T) {
	k := keyOf(0)
	raw := proxyText(1, start).with("ipv6 2001:db8::1").with("aaa größer").sign(k)
	s := record.New(record.Options{})
	merge(t, s, start, raw)
	if got := s.All(start); len(got) != 1 || got[0].Raw() != string(raw) || got[0].Body.(*record.Proxy).Name != "gate" {
		t.Errorf("got %v", got)
	}
}

// A later version may know more kinds: it is no crime to pass one on.
func TestSet_unknownKindStaysOut(t *testing.T) {
	x := proxyText(1, start)
	x.kind, x.subject = "wish", "wish/1"
	m := record.New(record.Options{}).Merge(start, "", x.sign(keyOf(0)))
	if len(m.Changed) != 0 || len(m.Rejected) != 1 || !errors.Is(m.Rejected[0].Err, record.ErrUnknownKind) || m.Bad() != nil {
		t.Errorf("got %+v", m)
	}
}

// Two records under one serial: every node comes to hold the same one.
func TestSet_equivocation(t *testing.T) {
	k := keyOf(0)
	a, b := proxyText(5, start).sign(k), proxyText(5, start).with("name other").sign(k)
	one, two := record.New(record.Options{}), record.New(record.Options{})
	one.Merge(start, "", a, b)
	two.Merge(start, "", b, a)
	if one.Sum() != two.Sum() || one.Len() != 1 {
		t.Error("they differ")
	}
	loser := a
	if one.All(start)[0].Raw() == string(a) {
		loser = b
	}
	m := one.Merge(start, "", loser)
	if len(m.Rejected) != 1 || !errors.Is(m.Rejected[0].Err, record.ErrEquivocation) {
		t.Errorf("got %+v", m)
	}
}

// An owner that dates a newer record back gains nothing: where both were known,
// the older one does not come back when the newer one has expired.
func TestSet_backdated(t *testing.T) {
	k := keyOf(0)
	older, newer := proxyText(1, start).sign(k), proxyText(2, start.Add(-time.Hour)).sign(k)
	for _, taken := range [][]byte{newer, goneText("proxy", 2, start.Add(-time.Hour)).sign(k), goneText("*", 2, start.Add(-time.Hour)).sign(k)} {
		s := record.New(record.Options{})
		merge(t, s, start, older, taken)
		later := start.Add(record.MaxLife - time.Minute)
		s.Expire(later)
		if s.Len() != 0 {
			t.Fatalf("%d records hold", s.Len())
		}
		if m := s.Merge(later, "", older); len(m.Changed) > 0 || s.Len() != 0 || s.Sum() != (record.Digest{}) {
			t.Errorf("got %+v", m)
		}
		end := start.Add(record.MaxLife)
		s.Expire(end)
		if fresh := proxyText(1, end).sign(k); len(s.Merge(end, "", fresh).Changed) != 1 {
			t.Error("it is never forgotten")
		}
	}
}

// Many goroutines merge, read and expire; in the end all is there.
func TestSet_manyGoroutines(t *testing.T) {
	s := record.New(record.Options{})
	var raws [][]byte
	for i := range 200 {
		raws = append(raws, claimText(keyOf(0), keyOf(i%4), fmt.Sprintf("m%d", i/4), uint64(i+1), start).sign(keyOf(i%4)))
	}
	w := s.Watch(1000)
	defer w.Close()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range raws {
				s.Merge(start, "", raws[(i*(2*g+1))%len(raws)])
				if i%20 == g {
					s.View(start)
					s.Digests()
					s.Expire(start)
					s.Owned(keyOf(1).ID(), start)
					s.Trust(keyOf(g).ID(), i%40 == g)
				}
			}
		})
	}
	all.Wait()
	s.Merge(start, "", raws...)
	one := record.New(record.Options{})
	one.Merge(start, "", raws...)
	if s.Sum() != one.Sum() || s.Len() != len(raws) {
		t.Errorf("%d records", s.Len())
	}
	if changes, lost := w.Take(); lost || len(changes) != len(raws) {
		t.Errorf("%d changes", len(changes))
	}
}

func TestWatch_overflow(t *testing.T) {
	s := record.New(record.Options{})
	w := s.Watch(2)
	defer w.Close()
	for i := range 3 {
		if m := s.Merge(start, "friend", proxyText(uint64(i+1), start).sign(keyOf(0))); len(m.Changed) != 1 {
			t.Fatal(m)
		}
	}
	<-w.Wake()
	if changes, lost := w.Take(); !lost || len(changes) > 0 {
		t.Errorf("got %v, %t", changes, lost)
	}
	s.Merge(start, "friend", proxyText(4, start).sign(keyOf(0)))
	if changes, lost := w.Take(); lost || len(changes) != 1 || changes[0].From != "friend" || changes[0].Record.Serial != 4 {
		t.Errorf("got %v, %t", changes, lost)
	}
}

func TestNewClaim_refusesAnothersLease(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	signed := signedLease(proxy, node, "web", 20000, start.Add(time.Hour))
	if _, err := record.NewClaim(signed, node.Public(), record.Claim{}); err == nil {
		t.Error("the key is not the proxy's")
	}
	signed[len(signed)-1] ^= 1
	if _, err := record.NewClaim(signed, proxy.Public(), record.Claim{}); !errors.Is(err, record.ErrForged) {
		t.Errorf("got %v", err)
	}
}

// A claim ends with its lease, and says no more than a row needs.
func TestSigner_claimEndsWithItsLease(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	until := start.Add(time.Hour)
	r, err := signer(t, node, func() time.Time { return start }).Sign(aClaim(t, proxy, node, "web", until))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Expires.Equal(until) {
		t.Errorf("it expires at %s", r.Expires)
	}
	if c := r.Body.(*record.Claim); c.Type() != tables.TCP || c.Public().String() != "198.51.100.7:20000" {
		t.Errorf("got %+v", c)
	}
}
