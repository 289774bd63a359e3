package proof

import (
	"context"
	"crypto/hmac"
	"errors"
	"net/netip"
	"sync"

	"p2prc/tables"
)

// Target is a public port for a witness to dial.
type Target struct {
	Type    tables.Protocol
	Addr    netip.AddrPort
	LeaseID string // of the guard that must answer; empty: frps has the port, see Connect
	Key     Key    // of that guard
}

// Witness proves that a guard of this lease answers at the public address. To
// count, it must be called from outside the proxy's own host: what a host dials
// on itself does not pass its firewall.
func Witness(ctx context.Context, t Target) error {
	if t.LeaseID == "" {
		if t.Type != tables.TCP {
			return errNoGuard
		}
		return Connect(ctx, t.Addr)
	}
	q := t.Question()
	return exchange(ctx, t.Type, t.Addr, q.Bytes, q.Right)
}

// Question is what to ask the guard; it has no Bytes where a bare connect has
// to do.
func (t Target) Question() Question {
	if t.LeaseID == "" {
		return Question{}
	}
	asked := append(leaseTag(t.LeaseID), newNonce()...)
	want := t.Key.sum(asked)
	return Question{append([]byte(guardMagic), asked...), func(got []byte) bool { return hmac.Equal(got, want) }}
}

var errNoGuard = errors.New("no guard is there that could answer a datagram")

// WitnessAll dials every target, at most parallel of them at a time, and
// returns why each did not answer, in order.
func WitnessAll(ctx context.Context, targets []Target, parallel int) []error {
	errs := make([]error, len(targets))
	forAll(len(targets), parallel, func(i int) { errs[i] = Witness(ctx, targets[i]) })
	return errs
}

// Connect proves that a TCP port which frps holds can be reached: a bare
// connect, without a byte, which frps passes on to the service behind it as a
// connection that ends at once.
func Connect(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeWait)
	defer cancel()
	conn, err := dial(ctx, tables.TCP, addr)
	if err != nil {
		return explain(ctx, err)
	}
	conn.Close()
	return nil
}

// forAll calls do(0) to do(n-1), at most parallel at a time.
func forAll(n, parallel int, do func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, max(parallel, 1)) {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
