package proof

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables"
)

// dialWait bounds one dial: three tries of a TCP handshake are at 0, 1 and 3 s.
const dialWait = 2 * time.Second

// Target is a port of a reverse proxy to be dialled from here.
type Target struct {
	Type tables.Protocol
	Addr netip.AddrPort
	// LeaseID and Key are of the guard that should answer. Without them the port
	// is frps's and a bare TCP connect must do.
	LeaseID string
	Key     []byte
}

// WitnessAll dials each target, so many at once, and says of each why nobody
// gets through, nil when somebody does.
func WitnessAll(ctx context.Context, targets []Target, parallel int) []error {
	errs := make([]error, len(targets))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(parallel, len(targets)) {
		wg.Go(func() {
			for i := range next {
				errs[i] = witness(ctx, targets[i])
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}

func witness(ctx context.Context, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	if t.LeaseID == "" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", t.Addr.String())
		if err != nil {
			return plain(err)
		}
		return conn.Close()
	}
	q := question(guardMagic)
	nonce, _ := nonceOf(q, guardMagic)
	return ask(ctx, t.Type, t.Addr, q, mac(t.Key, []byte(t.LeaseID), nonce))
}
