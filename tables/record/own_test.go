package record_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// self is a node that speaks for itself, on a clock of the test's own.
type self struct {
	key identity.Key
	now time.Time
	set *record.Set
	own *record.Own
}

func newSelf(t testing.TB, k identity.Key) *self {
	t.Helper()
	s := &self{key: k, now: start}
	s.set = record.New(record.Options{Self: signer(t, k, func() time.Time { return s.now })})
	var err error
	if s.own, err = record.NewOwn(s.set); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *self) say(t testing.TB, bodies ...record.Body) {
	t.Helper()
	if err := s.own.Say(s.now, bodies...); err != nil {
		t.Fatal(err)
	}
}

// kinds is what the node says, in words.
func (s *self) kinds() string {
	var out []string
	for _, r := range s.set.Owned(s.key.ID(), s.now) {
		name, _, _ := strings.Cut(string(r.Subject), "/")
		out = append(out, string(r.Kind())+":"+name)
	}
	return strings.Join(out, " ")
}

func TestOwn_say(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	s := newSelf(t, node)
	until := start.Add(record.MaxLife)
	claim := aClaim(t, proxy, node, "web", until)
	tunnel := claim.Tunnel()
	down := &record.Down{Tunnel: tunnel, Reason: "nothing listens", Since: start}

	s.say(t, claim)
	first := s.set.Sum()
	s.say(t, claim)
	if s.set.Sum() != first {
		t.Error("it said the same thing anew")
	}
	// A renewed lease is no news.
	s.now = start.Add(time.Hour)
	s.say(t, aClaim(t, proxy, node, "web", until.Add(time.Hour)))
	if s.set.Sum() != first {
		t.Error("a renewed lease made it speak")
	}
	s.say(t, claim, down)
	if got := s.kinds(); got != "claim:claim down:down" {
		t.Errorf("got %s", got)
	}
	// After half its life a claim is made anew, and the down goes along.
	s.now = start.Add(13 * time.Hour)
	s.say(t, aClaim(t, proxy, node, "web", s.now.Add(record.MaxLife)), down)
	c := s.set.Get(node.ID(), tunnel.ClaimSubject(), s.now)
	d := s.set.Get(node.ID(), tunnel.DownSubject(), s.now)
	if !c.Issued.Equal(s.now) || d.Body.(*record.Down).Claim != c.Serial {
		t.Errorf("claim of %s, serial %d; down of %d", c.Issued, c.Serial, d.Body.(*record.Down).Claim)
	}
	// A changed role is news, and what is not said any more is taken back.
	standby := *claim
	standby.Role = record.Standby
	s.say(t, &standby)
	if got := s.kinds(); got != "claim:claim gone:down" {
		t.Errorf("got %s", got)
	}
	s.say(t)
	if got := s.kinds(); got != "gone:claim gone:down" {
		t.Errorf("got %s", got)
	}
	s.say(t, aClaim(t, proxy, node, "web", s.now.Add(record.MaxLife)))
	if got := s.kinds(); got != "claim:claim gone:down" {
		t.Errorf("back again: got %s", got)
	}
	if err := s.own.Goodbye(s.now); err != nil {
		t.Fatal(err)
	}
	if got := s.kinds(); got != "gone:*" {
		t.Errorf("after the goodbye: got %s", got)
	}
	s.say(t, aClaim(t, proxy, node, "web", s.now.Add(record.MaxLife)))
	if got := s.kinds(); got != "gone:* claim:claim" {
		t.Errorf("after it came back: got %s", got)
	}
}

func TestOwn_heartbeats(t *testing.T) {
	s := newSelf(t, keyOf(0))
	s.say(t, aProxy("gate", "198.51.100.7"))
	sum := s.set.Sum()
	for range 10 {
		if err := s.own.Beat(s.now, record.Heartbeat{Free: 1, Load: 2}); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(record.BeatEvery)
		changed := *aProxy("gate", "198.51.100.7")
		changed.Free = uint32(s.now.Second())
		s.say(t, &changed)
		s.set.Expire(s.now)
	}
	if s.set.Sum() != sum {
		t.Error("heartbeats, or free ports, are in the digest")
	}
	if v := s.set.View(s.now); len(v.Proxies) != 1 || !v.Proxies[0].Alive() {
		t.Errorf("got %+v", v.Proxies)
	}
}

// Serials rise, whatever the clock does, over restarts and lost files.
func TestSigner_serials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.serial")
	now := start
	var log bytes.Buffer
	open := func() *record.Signer {
		t.Helper()
		s, err := record.NewSigner(record.SignerOptions{Key: keyOf(0), Path: path, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	last := uint64(0)
	rises := func(s *record.Signer) {
		t.Helper()
		r, err := s.Sign(&record.Heartbeat{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Serial <= last {
			t.Errorf("serial %d after %d", r.Serial, last)
		}
		last = r.Serial
	}
	s := open()
	rises(s)
	rises(s)
	now = start.Add(-24 * time.Hour)
	rises(s)
	s = open()
	rises(s)
	now = start.Add(time.Hour)
	rises(s)
	now = time.Unix(0, 0)
	rises(open())
	// The file is lost, but others know what was said.
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = start
	s = open()
	if !strings.Contains(log.String(), "lost") {
		t.Errorf("nothing is said: %s", &log)
	}
	set := record.New(record.Options{Self: s})
	merge(t, set, start, beatText(last+1_000_000, start).sign(keyOf(0)))
	last += 1_000_000
	rises(s)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
	// A disk that takes nothing: no serial that may come twice.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	now = start.Add(48 * time.Hour)
	if r, err := s.Sign(&record.Heartbeat{}); err == nil {
		t.Errorf("got serial %d", r.Serial)
	}
}

func TestSigner_refusesWhatNobodyTakes(t *testing.T) {
	s := signer(t, keyOf(0), func() time.Time { return start })
	for name, b := range map[string]record.Body{
		"no name":         &record.Proxy{Address: aProxy("x", "1.2.3.4").Address, NodePort: 1, FRPPort: 1, Pool: tables.PortRange{First: 1, Last: 2}, Admission: tables.AdmitOpen},
		"a template":      aProxy("{{x}}", "198.51.100.7"),
		"another's down":  &record.Down{Tunnel: record.Tunnel{Node: keyOf(1).ID(), Proxy: keyOf(2).ID(), Name: "web"}, Since: start},
		"another's claim": aClaim(t, keyOf(0), keyOf(1), "web", start.Add(time.Hour)),
	} {
		if r, err := s.Sign(b); err == nil {
			t.Errorf("%s: got %s", name, r.Raw())
		}
	}
	// Any reason can be said, in letters that can be shown.
	d := &record.Down{Tunnel: record.Tunnel{Node: keyOf(0).ID(), Proxy: keyOf(1).ID(), Name: "web"}, Reason: "\x1b[31m" + strings.Repeat("ä", 200) + "\xff", Since: start}
	r, err := s.Sign(d)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Body.(*record.Down).Reason; len(got) > 240 || !strings.HasPrefix(got, "?[31mää") {
		t.Errorf("got %q", got)
	}
}

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known.records")
	var log bytes.Buffer
	now := start
	keep := func(s *record.Set) *record.Keep {
		return &record.Keep{Set: s, Path: path, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil))}
	}
	one := record.New(record.Options{})
	if err := keep(one).Load(); err != nil {
		t.Errorf("the first time: %v", err)
	}
	merge(t, one, start, proxyText(1, start).sign(keyOf(0)), beatText(2, start).sign(keyOf(0)),
		claimText(keyOf(0), keyOf(1), "web", 1, start.Add(-2*time.Minute)).sign(keyOf(1)), goneText("*", 5, start).sign(keyOf(2)))
	if err := keep(one).Save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	two := record.New(record.Options{})
	if err := keep(two).Load(); err != nil {
		t.Fatal(err)
	}
	if one.Sum() != two.Sum() || two.Len() != 3 {
		t.Errorf("%d records are back", two.Len())
	}
	// What was verified once is not any more; it keeps its place all the same.
	small := record.New(record.Options{Limits: record.Limits{Unverified: 1}})
	if err := keep(small).Load(); err != nil || small.Len() != 3 {
		t.Errorf("%d records, %v", small.Len(), err)
	}
	now = start.Add(record.MaxLife - time.Minute)
	late := record.New(record.Options{})
	if err := keep(late).Load(); err != nil || late.Len() != 2 {
		t.Errorf("%d records are left a day later, %v", late.Len(), err)
	}
	for _, broken := range []string{"", "x", string(whole[:len(whole)-1]), string(whole[:200]), strings.Replace(string(whole), "gate", "gaze", 1), string(whole) + "x"} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		s := record.New(record.Options{})
		if err := keep(s).Load(); err != nil || s.Len() != 0 {
			t.Errorf("%d bytes: %d records, %v", len(broken), s.Len(), err)
		}
		kept, err := os.ReadFile(path + ".corrupt")
		if err != nil || string(kept) != broken || !strings.Contains(log.String(), "known.records.corrupt") {
			t.Errorf("%d bytes: not kept aside and reported: %v, %s", len(broken), err, &log)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("it is still there")
		}
	}
}

func TestKeep_serve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "known.records")
		s := record.New(record.Options{})
		k := &record.Keep{Set: s, Path: path, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Serve(ctx) }()
		issued := time.Now().UTC().Truncate(time.Second)
		merge(t, s, issued, proxyText(1, issued).sign(keyOf(0)), beatText(2, issued).sign(keyOf(0)))
		time.Sleep(time.Minute) // virtual
		if s.Len() != 1 {
			t.Errorf("%d records: the heartbeat has expired", s.Len())
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("written at once")
		}
		time.Sleep(5 * time.Minute)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if _, err := os.Stat(path); err == nil {
			t.Error("written although nothing changed")
		}
		merge(t, s, time.Now(), proxyText(1, issued).sign(keyOf(1)))
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("not written in the end: %v", err)
		}
	})
}
