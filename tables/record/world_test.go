package record_test

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// keyOf is the key of the n-th node of a test; making one takes a while.
func keyOf(n int) identity.Key {
	keys.Lock()
	defer keys.Unlock()
	for len(keys.all) <= n {
		keys.all = append(keys.all, identity.NewKey())
	}
	return keys.all[n]
}

var keys struct {
	sync.Mutex
	all []identity.Key
}

// text is a record as the format says, written without the package's help.
type text struct {
	kind, subject   string
	serial          uint64
	issued, expires time.Time
	fields          []string // "name value"
}

func (x text) message(k identity.Key) []byte {
	lines := append([]string{
		"p2prc-record-v1", x.kind, string(k.ID()), base64.RawStdEncoding.EncodeToString(k.Public()), x.subject,
		fmt.Sprint(x.serial), x.issued.UTC().Format(time.RFC3339), x.expires.UTC().Format(time.RFC3339),
	}, x.fields...)
	return []byte(strings.Join(lines, "\n") + "\n")
}

func (x text) sign(k identity.Key) []byte {
	msg := x.message(k)
	return append(msg, k.Sign(msg)...)
}

func proxyText(serial uint64, issued time.Time) text {
	return text{
		kind: "proxy", subject: "proxy", serial: serial, issued: issued, expires: issued.Add(record.MaxLife),
		fields: []string{
			"address 198.51.100.7", "admission token", "free 100", "frp-port 7000", "frp-version 0.70.1",
			"name gate", "node-port 8088", "pool 20000-29999", "version 1.0",
		},
	}
}

func beatText(serial uint64, issued time.Time) text {
	return text{
		kind: "heartbeat", subject: "heartbeat", serial: serial, issued: issued, expires: issued.Add(record.BeatLife),
		fields: []string{"free 90", "load 10"},
	}
}

func goneText(subject string, serial uint64, issued time.Time) text {
	return text{kind: "gone", subject: subject, serial: serial, issued: issued, expires: issued.Add(record.MaxLife)}
}

// signedLease is the proxy's word that the node has a port.
func signedLease(proxy, node identity.Key, name string, port uint16, until time.Time) []byte {
	return lease.Signed{
		Proxy: proxy.ID(), Node: node.ID(), Name: name, Type: tables.TCP, Port: port, LeaseID: "l-" + name, Until: until,
	}.Sign(proxy.Sign)
}

func claimText(proxy, node identity.Key, name string, serial uint64, issued time.Time) text {
	return text{
		kind: "claim", subject: "claim/" + string(proxy.ID()) + "/" + name, serial: serial, issued: issued, expires: issued.Add(record.MaxLife),
		fields: []string{
			"address 198.51.100.7",
			"lease " + base64.RawStdEncoding.EncodeToString(signedLease(proxy, node, name, 20000, issued.Add(record.MaxLife))),
			"proxy-key " + base64.RawStdEncoding.EncodeToString(proxy.Public()),
			"role active", "server home",
		},
	}
}

func downText(proxy, node identity.Key, name string, claim, serial uint64, issued time.Time) text {
	return text{
		kind: "down", subject: "down/" + string(node.ID()) + "/" + string(proxy.ID()) + "/" + name, serial: serial, issued: issued, expires: issued.Add(record.MaxLife),
		fields: []string{fmt.Sprintf("claim %d", claim), "reason the cable is out", "since " + issued.Format(time.RFC3339)},
	}
}

func (x text) expiring(at time.Time) text { x.expires = at; return x }
func (x text) issuedAt(at time.Time) text { x.issued = at; return x }

// with replaces the field of that name, or adds it in order.
func (x text) with(field string) text {
	name, _, _ := strings.Cut(field, " ")
	out := x
	out.fields = nil
	put := false
	for _, f := range x.fields {
		n, _, _ := strings.Cut(f, " ")
		if !put && n >= name {
			out.fields = append(out.fields, field)
			put = true
		}
		if n != name {
			out.fields = append(out.fields, f)
		}
	}
	if !put {
		out.fields = append(out.fields, field)
	}
	return out
}

// merge takes in records that must enter.
func merge(t testing.TB, s *record.Set, now time.Time, raws ...[]byte) {
	t.Helper()
	m := s.Merge(now, "", raws...)
	if len(m.Rejected) > 0 {
		t.Fatalf("record %d was rejected: %v", m.Rejected[0].Index, m.Rejected[0].Err)
	}
}

func signer(t testing.TB, k identity.Key, now func() time.Time) *record.Signer {
	t.Helper()
	s, err := record.NewSigner(record.SignerOptions{Key: k, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func aProxy(name, addr string) *record.Proxy {
	return &record.Proxy{
		Name: name, Address: netip.MustParseAddr(addr), NodePort: 8088, FRPPort: 7000,
		Pool: tables.PortRange{First: 20000, Last: 29999}, Free: 100, Admission: tables.AdmitToken, FRPVersion: "0.70.1", Version: "1.0",
	}
}

func aClaim(t testing.TB, proxy, node identity.Key, name string, until time.Time) *record.Claim {
	t.Helper()
	c, err := record.NewClaim(signedLease(proxy, node, name, 20000, until), proxy.Public(), record.Claim{
		Server: "home", Address: netip.MustParseAddr("198.51.100.7"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
