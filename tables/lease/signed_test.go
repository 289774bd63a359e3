package lease_test

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"p2prc/tables"
	"p2prc/tables/lease"
)

func verify(msg, sig []byte) bool { return hmac.Equal(sign(msg), sig) }

var sample = lease.Signed{
	Proxy: proxyID, Node: nodeID(1), Name: "ssh", Type: tables.TCP, Port: 20000, LeaseID: "l1",
	Until: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
}

var domainSample = lease.Signed{
	Proxy: proxyID, Node: nodeID(1), Name: "web", Type: tables.HTTPS, Port: 443, LeaseID: "l2",
	Until: sample.Until, Domain: app,
}

// That of a port has the bytes that it had before there were domains.
func TestSigned_exactBytes(t *testing.T) {
	for want, s := range map[string]lease.Signed{
		"\nssh\nTCP\n20000\nl1\n2026-11-24T12:00:00Z\n":                  sample,
		"\nweb\nHTTPS\n443\nl2\n2026-11-24T12:00:00Z\napp.example.org\n": domainSample,
	} {
		want = "p2prc-lease-v1\n" + string(proxyID) + "\n" + string(nodeID(1)) + want
		if got := s.Sign(func([]byte) []byte { return nil }); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSigned_thereAndBack(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9-]{1,63}`)
	domain := rapid.StringMatching(`([a-z0-9]{1,63}\.){1,3}[a-z]{1,61}`)
	rapid.Check(t, func(t *rapid.T) {
		s := lease.Signed{
			Proxy: nodeID(rapid.Int().Draw(t, "proxy")), Node: nodeID(rapid.Int().Draw(t, "node")),
			Name: name.Draw(t, "name"), Type: rapid.SampledFrom([]tables.Protocol{tables.TCP, tables.UDP, tables.HTTP, tables.HTTPS}).Draw(t, "type"),
			Port: rapid.Uint16Min(1).Draw(t, "port"), LeaseID: name.Draw(t, "id"),
			Until: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "until"), 0).UTC(),
		}
		if s.Type.ByName() {
			s.Domain = domain.Draw(t, "domain")
		}
		b := s.Sign(sign)
		got, err := lease.ParseSigned(b, verify)
		if diff := cmp.Diff(s, got); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
		i := rapid.IntRange(0, len(b)-1).Draw(t, "flipped")
		b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := lease.ParseSigned(b, verify); err == nil {
			t.Fatalf("byte %d was changed, and it passes as %+v", i, got)
		}
	})
}

func TestParseSigned_oneSpelling(t *testing.T) {
	unsigned := func([]byte) []byte { return nil }
	good, named := string(sample.Sign(unsigned)), string(domainSample.Sign(unsigned))
	for name, msg := range map[string]string{
		"another prefix":     strings.Replace(good, "v1", "v2", 1),
		"a port with a zero": strings.Replace(good, "\n20000", "\n020000", 1),
		"another time zone":  strings.Replace(good, "12:00:00Z", "13:00:00+01:00", 1),
		"part of a second":   strings.Replace(good, "00Z", "00.5Z", 1),
		"lower case":         strings.Replace(good, "TCP", "tcp", 1),
		"port 0":             strings.Replace(good, "20000", "0", 1),
		"a bad name":         strings.Replace(good, "ssh", "../x", 1),
		"a bad lease ID":     strings.Replace(good, "l1", "{{l1", 1),
		"a bad node ID":      strings.Replace(good, string(nodeID(1)), "alice", 1),
		"one line more":      good + "x\n",
		"one line less":      strings.Replace(good, "ssh\n", "", 1),
		"nothing":            "",
		"a long one":         strings.Repeat(good, 10),
		"a port of a domain": good + app + "\n",
		"an empty domain":    good + "\n",
		"a bad type":         strings.Replace(named, "HTTPS", "HTTP2", 1),
		"no domain":          strings.Replace(named, app+"\n", "", 1),
		"a domain of none":   strings.Replace(named, app, "", 1),
		"two domains":        named + "b.example.org\n",
		"a domain in caps":   strings.Replace(named, "app.", "App.", 1),
		"with a dot behind":  strings.Replace(named, app, app+".", 1),
		"with a port":        strings.Replace(named, app, app+":443", 1),
		"of everybody":       strings.Replace(named, app, "*.example.org", 1),
		"a long domain":      strings.Replace(named, app, strings.Repeat("a.", 127)+"org", 1),
		"a template":         strings.Replace(named, app, "{{.Env}}.org", 1),
	} {
		t.Run(name, func(t *testing.T) {
			b := append([]byte(msg), sign([]byte(msg))...)
			if got, err := lease.ParseSigned(b, verify); err == nil {
				t.Errorf("read as %+v", got)
			}
		})
	}
	if _, err := lease.ParseSigned(nil, verify); err == nil {
		t.Error("no bytes at all were read")
	}
}

func FuzzParseSigned(f *testing.F) {
	f.Add(sample.Sign(sign))
	f.Add(domainSample.Sign(sign))
	for _, change := range []func(s *lease.Signed){
		func(s *lease.Signed) { s.Type = tables.TCP },
		func(s *lease.Signed) { s.Domain = "" },
		func(s *lease.Signed) { s.Domain = "*.example.org" },
		func(s *lease.Signed) { s.Domain = strings.Repeat("a.", 127) + "org" },
		func(s *lease.Signed) { s.Domain += "\n" + s.Domain },
	} {
		s := domainSample
		change(&s)
		f.Add(s.Sign(sign))
	}
	f.Add([]byte("p2prc-lease-v1\n\n\n\n\n\n\n\n" + strings.Repeat("s", 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := lease.ParseSigned(b, func([]byte, []byte) bool { return true })
		if err != nil {
			return
		}
		if err := tables.CheckDomainOf(s.Type, s.Domain); err != nil {
			t.Errorf("%q was read: %v", b, err)
		}
		if again := s.Sign(func([]byte) []byte { return b[len(b)-64:] }); !bytes.Equal(again, b) {
			t.Errorf("%q was read as %q", b, again)
		}
	})
}

func TestSecret(t *testing.T) {
	s := lease.Secret("do not show")
	if bytes.Equal(s.GuardKey("a"), s.GuardKey("b")) || bytes.Equal(s.GuardKey("a"), lease.Secret("other").GuardKey("a")) {
		t.Error("guard keys are not derived from both the secret and the lease")
	}
	w := newWorld()
	o := w.options(pool3)
	o.Secret = s
	b := open(t, o)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "err", s)
	out := fmt.Sprintf("%v %+v %#v %x %s %q %v %+v %#v %v %+v", s, s, s, s, s, s, o, o, o, b, b) + log.String()
	for _, shown := range []string{"do not show", fmt.Sprintf("%x", "do not show"), "100 111 32"} {
		if strings.Contains(out, shown) {
			t.Errorf("%q shows in %s", shown, out)
		}
	}
}
