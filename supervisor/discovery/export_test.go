package discovery

import (
	"context"
	"net/netip"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// Hear takes records as if another node had sent them.
func (d *Discovery) Hear(from identity.ID, records ...*record.Record) {
	for _, r := range records {
		d.set.Merge(time.Now(), from, []byte(r.Raw()))
	}
}

// DialBy says what comes of dialling a reverse proxy. Call it before Serve.
func (d *Discovery) DialBy(dial func() error) {
	d.meter.dial = func(context.Context, identity.ID, netip.AddrPort) (time.Duration, error) {
		return time.Millisecond, dial()
	}
}

// AskedOthers is what a successful Update leaves.
func (d *Discovery) AskedOthers() { d.current.Store(true) }
