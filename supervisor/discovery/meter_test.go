package discovery

import (
	"net/netip"
	"testing"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// TestMeter_late: a heartbeat that got lost costs one look, and none while packets
// of the mesh come; without either the proxy is looked after in time.
func TestMeter_late(t *testing.T) {
	key := identity.NewKey()
	signer, err := record.NewSigner(record.SignerOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	d := &Discovery{set: record.New(record.Options{})}
	hear := func(b record.Body) {
		r, err := signer.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		if m := d.set.Merge(time.Now(), "", []byte(r.Raw())); len(m.Rejected) > 0 {
			t.Fatal(m.Rejected[0].Err)
		}
	}
	hear(&record.Proxy{
		Name: "gate", Address: netip.MustParseAddr("198.51.100.7"), NodePort: 8088, FRPPort: 7000,
		Pool: tables.PortRange{First: 20000, Last: 29999}, Admission: tables.AdmitToken, FRPVersion: "0.70.1", Version: "1",
	})

	m := newMeter(d)
	now := time.Now()
	var packet time.Time
	m.now = func() time.Time { return now }
	m.packet = func(identity.ID) time.Time { return packet }
	beat := func() {
		hear(&record.Heartbeat{Free: 1})
		p, _ := d.set.ProxyOf(key.ID(), time.Now())
		row := p.Row()
		m.into(&row, p)
	}
	looks := func(when string, after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		id, _, wait := m.next()
		if (id != "") != want {
			t.Errorf("%s: looked after: %v, the next one in %v", when, id != "", wait)
		}
		if got := m.known[key.ID()]; id != "" { // what measure leaves
			got.at, got.due, got.busy = now, now.Add(remeasure), false
		}
	}
	beat()
	looks("a new one", 0, true)
	looks("in time", lateAfter-time.Second, false)
	beat()
	looks("in time again", lateAfter-time.Second, false)
	looks("a lost heartbeat", 2*time.Second, true)
	beat()
	looks("heard again", lateAfter-time.Second, false)

	packet = now
	looks("a packet instead", packetAfter-time.Second, false)
	packet = now
	looks("another one", packetAfter-time.Second, false)
	looks("neither", 2*time.Second, true)

	m.known[key.ID()].err = errSelf
	beat()
	looks("heard again after a failure", leastPause, true)
}
