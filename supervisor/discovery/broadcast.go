package discovery

import (
	"context"
	"maps"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// broadcast sends on what is new here, but for what the mesh itself brought.
func (d *Discovery) broadcast(ctx context.Context, watch *record.Watch) error {
	var fetched allowance
	signs := signs{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.Wake():
		}
		changes, lost := watch.Take()
		for _, c := range changes {
			if c.Record.Subject == record.SubjectProxy && c.Record.Owner != d.o.Key.ID() {
				d.come()
			}
			raw := []byte(c.Record.Raw())
			first := c.Record.Kind() == record.KindHeartbeat && !c.Void && signs.first(c.Record.Owner, time.Now())
			switch {
			case c.Void, c.From == byMesh: // which passes its own on
			case d.alone():
			case c.Record.Kind() == record.KindHeartbeat && !first:
				d.mesh.Beat(raw)
			case d.ofProxy(c.From) && !fetched.take(time.Now()):
			default:
				d.mesh.Broadcast(raw)
			}
			if c.Record.Subject == record.SubjectProxy {
				d.mesh.Learned()
			}
		}
		if lost {
			d.mesh.Learned()
		}
	}
}

// signs are when each reverse proxy gave its last sign of life. The first one, also
// after a silence, is what makes it up: it has to reach everyone, as a record does.
type signs map[identity.ID]time.Time

func (s signs) first(id identity.ID, now time.Time) bool {
	last, known := s[id]
	if !known {
		maps.DeleteFunc(s, func(_ identity.ID, at time.Time) bool { return now.Sub(at) >= record.BeatLife })
	}
	s[id] = now
	return now.Sub(last) >= record.BeatLife
}

// ofProxy reports whether some node is a reverse proxy, and so of the mesh.
func (d *Discovery) ofProxy(id identity.ID) bool {
	_, ok := d.addressOf(id)
	return ok
}

// What was fetched from another reverse proxy is known to the mesh but for a part
// of it that was cut off, which notices by itself. So only a little of it is
// passed on: who comes anew fetches everything, 100,000 records perhaps.
const (
	fetchedAtOnce    = 500
	fetchedPerSecond = 20
)

// allowance is how much of what was fetched may be passed on. It belongs to one
// goroutine.
type allowance struct {
	used float64
	at   time.Time // when that was so
}

func (a *allowance) take(now time.Time) bool {
	a.used = max(0, a.used-now.Sub(a.at).Seconds()*fetchedPerSecond)
	a.at = now
	if a.used >= fetchedAtOnce {
		return false
	}
	a.used++
	return true
}
