package record_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/record"
)

// Whatever comes in is a record in its one spelling, or an error; a record that
// a set takes is signed, and goes on as it came.
func FuzzParse(f *testing.F) {
	proxy, node := keyOf(0), keyOf(1)
	for _, raw := range [][]byte{
		claimText(proxy, node, "web", 7, start).sign(node),
		claimText(proxy, node, "p2prc", 7, start).with("node yes").with("zz later").sign(node),
		domainText(proxy, node, "web", 7, start).sign(node),
		domainText(proxy, node, "web", 7, start).leased(aSite(proxy, proxy, "web", start.Add(time.Hour)), node).sign(node),
		domainText(proxy, node, "web", 7, start).leased(aSite(proxy, node, strings.Repeat("w", 63), start.Add(time.Hour)), proxy).sign(node),
		downText(proxy, node, "web", 7, 8, start).sign(node),
		proxyText(1, start).sign(proxy), beatText(1, start).sign(proxy), goneText("*", 1, start).sign(proxy),
		{},
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := record.Parse(raw)
		if err != nil {
			if !errors.Is(err, record.ErrMalformed) && !errors.Is(err, record.ErrUnknownKind) {
				t.Errorf("got %v", err)
			}
			return
		}
		if r.Raw() != string(raw) || r.Key() != record.KeyOf(r.Owner, r.Subject) || !r.Expires.After(r.Issued) || r.Expires.Sub(r.Issued) > record.MaxLife {
			t.Errorf("got %+v", r)
		}
		if c, ok := r.Body.(*record.Claim); ok {
			if row := (record.ClaimView{Record: r, Claim: c}).Row(); tables.CheckDomainOf(row.Type, row.Domain) != nil || tables.IsCanaryDomain(row.Domain) || (r.Kind() == record.KindDomain) != (row.Domain != "") {
				t.Errorf("a %s shows %+v", r.Kind(), row)
			}
		}
		s := record.New(record.Options{})
		m := s.Merge(r.Issued, "", raw)
		if signed := r.Verify() == nil; signed != (len(m.Changed) == 1) || signed != (s.Len() == 1) {
			t.Errorf("signed: %t, merged: %+v", signed, m)
		}
		s.View(r.Issued)
		s.Expire(r.Issued)
	})
}

// A broken file of known records is set aside, whatever is in it.
func FuzzKeep(f *testing.F) {
	dir := f.TempDir()
	s := record.New(record.Options{})
	s.Merge(start, "", proxyText(1, start).sign(keyOf(0)), claimText(keyOf(0), keyOf(1), "web", 7, start).sign(keyOf(1)))
	k := &record.Keep{Set: s, Path: filepath.Join(dir, "seed"), Now: func() time.Time { return start }, Log: slog.New(slog.DiscardHandler)}
	if err := k.Save(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(k.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "known")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := record.New(record.Options{})
		k := &record.Keep{Set: s, Path: path, Now: func() time.Time { return start }, Log: slog.New(slog.DiscardHandler)}
		if err := k.Load(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + ".corrupt"); err == nil && s.Len() > 0 {
			t.Error("broken, and taken")
		}
	})
}
