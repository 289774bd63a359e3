package record_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"p2prc/tables"
	"p2prc/tables/record"
)

func TestView_states(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	gate := proxyText(1, start).sign(proxy)
	beat := beatText(2, start).sign(proxy)
	claim := claimText(proxy, node, "web", 10, start).sign(node)
	for _, tc := range []struct {
		name   string
		raws   [][]byte
		now    time.Time
		state  tables.State
		reason string
	}{
		{"up", [][]byte{gate, beat, claim}, start, tables.Up, ""},
		{"no proxy", [][]byte{beat, claim}, start, tables.Down, "not known"},
		{"no heartbeat", [][]byte{gate, claim}, start, tables.Down, "silent"},
		{"the last heartbeat", [][]byte{gate, beat, claim}, at(39 * time.Second), tables.Up, ""},
		{"an old heartbeat", [][]byte{gate, beat, claim}, at(40 * time.Second), tables.Down, "silent"},
		{"the next heartbeat", [][]byte{gate, beat, claim, beatText(3, at(10*time.Second)).sign(proxy)}, at(45 * time.Second), tables.Up, ""},
		{"moved", [][]byte{proxyText(1, start).with("address 198.51.100.8").sign(proxy), beat, claim}, start, tables.Down, "another address"},
		{"down by the node", [][]byte{gate, beat, claim, downText(proxy, node, "web", 10, 11, start).sign(node)}, start, tables.Down, "cable"},
		{"down by the proxy", [][]byte{gate, beat, claim, downText(proxy, node, "web", 10, 3, start).sign(proxy)}, start, tables.Down, "cable"},
		{"up again by a new claim", [][]byte{gate, beat, downText(proxy, node, "web", 10, 3, start).sign(proxy), claimText(proxy, node, "web", 12, start).sign(node)}, start, tables.Up, ""},
		{"up again by taking back", [][]byte{gate, beat, claim, downText(proxy, node, "web", 10, 3, start).sign(proxy), goneText("down/"+string(node.ID())+"/"+string(proxy.ID())+"/web", 4, start).sign(proxy)}, start, tables.Up, ""},
		{"another mapping is down", [][]byte{gate, beat, claim, downText(proxy, node, "ssh", 10, 3, start).sign(proxy)}, start, tables.Up, ""},
		{"the proxy said goodbye", [][]byte{gate, beat, claim, goneText("*", 9, start).sign(proxy)}, start, tables.Down, "not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := record.New(record.Options{})
			merge(t, s, start.Add(20*time.Second), tc.raws...)
			v := s.View(tc.now)
			if len(v.Claims) != 1 {
				t.Fatalf("%d claims", len(v.Claims))
			}
			c := v.Claims[0]
			if c.State != tc.state || !strings.Contains(c.Reason, tc.reason) || (c.Reason == "") != (tc.state == tables.Up) {
				t.Errorf("%s: %q", c.State, c.Reason)
			}
		})
	}
}

func TestView_rows(t *testing.T) {
	proxy, node := keyOf(0), keyOf(1)
	s := record.New(record.Options{})
	merge(t, s, start, proxyText(1, start).sign(proxy), beatText(2, start).sign(proxy),
		claimText(proxy, node, "web", 10, start).with("node yes").sign(node))
	v := s.View(start)
	p := v.Proxies[0]
	if p.Load() != 10 || p.Free() != 90 {
		t.Errorf("load %d, free %d", p.Load(), p.Free())
	}
	addr := aProxy("gate", "198.51.100.7").Address
	equal := cmpopts.EquateComparable(addr)
	if diff := cmp.Diff(tables.ReverseProxy{
		ServerName: "gate", Address: addr, State: tables.Up, NodePort: 8088, FRPPort: 7000,
		Ports: tables.PortRange{First: 20000, Last: 29999}, PortsFree: 90, Admission: tables.AdmitToken,
		FRPVersion: "0.70.1", NodeID: proxy.ID(), Serial: 1,
	}, p.Row(), equal); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(tables.Mapping{
		ServerName: "home", Address: addr, Type: tables.TCP, BindPort: 20000, Name: "web", State: tables.Up,
		LeaseUntil: start.Add(record.MaxLife), NodeID: node.ID(), ProxyID: proxy.ID(), Serial: 10, LeaseID: "l-web", Node: true,
	}, v.Claims[0].Row(), equal, cmpopts.EquateComparable(v.Claims[0].Row().LocalAddress)); diff != "" {
		t.Error(diff)
	}
	merge(t, s, start, domainText(proxy, node, "web", 11, start).sign(node)) // the name is a domain's by now
	if diff := cmp.Diff(tables.Mapping{
		ServerName: "home", Address: addr, Type: tables.HTTPS, BindPort: 443, Name: "web", State: tables.Up,
		LeaseUntil: start.Add(record.MaxLife), NodeID: node.ID(), ProxyID: proxy.ID(), Serial: 11, LeaseID: "l-web", Domain: "app.example.org",
	}, s.View(start).Claims[0].Row(), equal, cmpopts.EquateComparable(v.Claims[0].Row().LocalAddress)); diff != "" {
		t.Error(diff)
	}
	// Without a heartbeat the proxy is listed, but not as up.
	if row := s.View(start.Add(time.Minute)).Proxies[0].Row(); row.State != tables.Down || row.Reason == "" || row.PortsFree != 100 {
		t.Errorf("got %+v", row)
	}
}

func TestWitness(t *testing.T) {
	proxy, node, other := keyOf(0), keyOf(1), keyOf(2)
	until := start.Add(time.Hour)
	parsed := func(raw []byte) *record.Record {
		r, err := record.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	gate := parsed(proxyText(1, start).sign(proxy))
	for _, tc := range []struct {
		name, err string
		signed    []byte
		proxy     *record.Record
		now       time.Time
	}{
		{"a lease", "", signedLease(proxy, node, "web", 20000, until), gate, start},
		{"of another proxy", "signature", signedLease(other, node, "web", 20000, until), gate, start},
		{"for another port than the pool has", "outside", signedLease(proxy, node, "ssh", 22, until), gate, start},
		{"ended", "ended", signedLease(proxy, node, "web", 20000, until), gate, until},
		{"garbage", "length", []byte("x"), gate, start},
		{"a heartbeat for a proxy", "not known", signedLease(proxy, node, "web", 20000, until), parsed(beatText(1, start).sign(proxy)), start},
		{"an expired proxy", "not known", signedLease(proxy, node, "web", 20000, start.Add(48*time.Hour)), gate, start.Add(record.MaxLife)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at, s, err := record.Witness(tc.signed, tc.proxy, tc.now)
			if tc.err == "" {
				if err != nil || at.String() != "198.51.100.7:20000" || s.Node != node.ID() {
					t.Errorf("got %v, %+v, %v", at, s, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) || at.IsValid() {
				t.Errorf("got %v, %v", at, err)
			}
		})
	}
}
