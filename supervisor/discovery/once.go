package discovery

import (
	"context"
	"errors"
	"fmt"
	gosync "sync"

	"p2prc/tables/identity"
)

// asked is how many nodes an update asks: if one lies, the other does not.
const asked = 2

// askedAtOnce is how many are asked at the same time.
const askedAtOnce = 4

// ErrNobody says that no node is known that could be asked.
var ErrNobody = errors.New("no other node is known yet")

// Update brings the records up to date with those of other nodes, dials every
// reverse proxy that is new, and shows all of it in the tables. It works beside
// Serve and without it, and returns how many nodes answered.
func (d *Discovery) Update(ctx context.Context) (answered int, err error) {
	d.mu.Lock()
	contacts := d.contacts()
	d.mu.Unlock()
	if len(contacts) == 0 {
		return 0, ErrNobody
	}
	answered, errs := d.askSome(ctx, contacts)
	if answered == 0 {
		if len(errs) == 0 {
			return 0, ErrNobody
		}
		return 0, fmt.Errorf("no node answers: %w", errors.Join(errs...))
	}
	d.current.Store(true)
	d.measure(ctx, false)
	return answered, nil
}

// askSome asks nodes, a few at a time: the best may be dead, and that takes a
// while to find out. It ends the others once enough have answered.
func (d *Discovery) askSome(ctx context.Context, contacts []contact) (answered int, errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(contacts))
	running := 0
	for next := 0; next < len(contacts) || running > 0; {
		for ; next < len(contacts) && running < askedAtOnce; next++ {
			c := contacts[next]
			running++
			go func() { results <- d.reconcile(ctx, c) }()
		}
		err := <-results
		running--
		switch {
		case answered >= asked: // it was ended
		case err == nil:
			if answered++; answered == asked {
				next = len(contacts)
				cancel()
			}
		case !errors.Is(err, errSelf):
			errs = append(errs, err)
		}
	}
	return answered, errs
}

// Refresh dials every reverse proxy that is known, and shows what came of it.
func (d *Discovery) Refresh(ctx context.Context) { d.measure(ctx, true) }

// measure dials the reverse proxies, those that were dialled before only if
// asked to.
func (d *Discovery) measure(ctx context.Context, again bool) {
	var wg gosync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, p := range d.set.Proxies(d.meter.now()) {
		id, addr := p.Record.Owner, p.Proxy.NodeAddress()
		if id == d.o.Key.ID() || !d.meter.claim(id, addr, again) {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			d.meter.measure(ctx, id, addr)
		})
	}
	wg.Wait()
	d.rows.lookNow(ctx)
}

// Show puts all that is known into the tables. It is for a Discovery that is not
// served: otherwise that happens by itself.
func (d *Discovery) Show() {
	d.rows.once = d.current.Load()
	d.rows.all()
}

// Save writes what was learned down, for a Discovery that is not served.
func (d *Discovery) Save() error { return d.keep.Save() }

// Find says which node answers at an address.
func (d *Discovery) Find(ctx context.Context, s Seed) (identity.ID, error) {
	conn, err := d.dial(ctx, contact{Seed: s})
	if err != nil {
		return "", err
	}
	conn.Close()
	return conn.peer, nil
}
