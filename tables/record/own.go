package record

import (
	"errors"
	"fmt"
	"time"
)

// Own keeps what a node says of itself in a set as it should be: it signs what
// is new, renews what has lived half its life, and takes back the rest. It
// belongs to one goroutine.
type Own struct {
	set    *Set
	signer *Signer
}

// NewOwn speaks for the signer of a set, whose Options.Self it is.
func NewOwn(set *Set) (*Own, error) {
	if set.o.Self == nil {
		return nil, errors.New("speaking for oneself: the set knows no signer")
	}
	return &Own{set: set, signer: set.o.Self}, nil
}

// Say makes these bodies, and no others but the heartbeat, what the node says
// now. A Down need not name the serial of its claim; the newest one known is
// meant. Nothing is signed as long as nothing changes.
func (o *Own) Say(now time.Time, bodies ...Body) error {
	said := make(map[Subject]bool, len(bodies))
	for pass := range 2 { // downs are about claims, which get their serial first
		for _, b := range bodies {
			d, isDown := b.(*Down)
			if isDown != (pass == 1) {
				continue
			}
			if isDown {
				b = o.aboutNewest(d, now)
			}
			said[b.subject()] = true
			if err := o.say(now, b); err != nil {
				return err
			}
		}
	}
	for _, r := range o.set.Owned(o.signer.ID(), now) {
		if said[r.Subject] || r.Kind() == KindGone || r.Kind() == KindHeartbeat {
			continue
		}
		if err := o.sign(now, &Gone{r.Subject}); err != nil {
			return err
		}
	}
	return nil
}

func (o *Own) aboutNewest(d *Down, now time.Time) *Down {
	c := o.set.Get(d.Tunnel.Node, d.Tunnel.ClaimSubject(), now)
	if c == nil || c.Serial <= d.Claim {
		return d
	}
	newest := *d
	newest.Claim = c.Serial
	return &newest
}

func (o *Own) say(now time.Time, b Body) error {
	r := o.set.Get(o.signer.ID(), b.subject(), now)
	if r != nil && r.Body.same(b) && r.Expires.Sub(now) > r.Expires.Sub(r.Issued)/2 {
		return nil
	}
	// A lease that ends soon bounds its claim: to sign it again gains nothing.
	if c, ok := b.(*Claim); ok && r != nil && r.Body.same(b) && !c.lease.Until.After(r.Expires) {
		return nil
	}
	return o.sign(now, b)
}

// Beat says that this reverse proxy lives; to be called every BeatEvery.
func (o *Own) Beat(now time.Time, h Heartbeat) error { return o.sign(now, &h) }

// Goodbye takes back everything with one record.
func (o *Own) Goodbye(now time.Time) error { return o.sign(now, &Gone{Everything}) }

func (o *Own) sign(now time.Time, b Body) error {
	r, err := o.signer.Sign(b)
	if err != nil {
		return fmt.Errorf("saying what this node is: %w", err)
	}
	return o.set.Own(now, r)
}
