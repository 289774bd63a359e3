package admin

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	firstStep = time.Millisecond // an answer of frp that is worth waiting for comes in 2-30 ms
	lastStep  = 50 * time.Millisecond
)

// poll asks until done, ctx ends, or the answer shows that asking is no use.
// ErrUnavailable is worth another try. The steps grow by a tenth, so that a
// quick answer is seen at once and a slow one costs little; an answer that takes
// frp long to give, of thousands of proxies, is not asked for half of the time.
func poll(ctx context.Context, ask func() (done bool, err error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for step := firstStep; ; step = min(step+step/10, lastStep) {
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("%w: %w", ctx.Err(), last)
			}
			return ctx.Err()
		case <-timer.C:
		}
		asked := time.Now()
		done, err := ask()
		took := time.Since(asked)
		switch {
		case done:
			return nil
		case ctx.Err() != nil: // err is only that, the one before says more
		case err != nil && !errors.Is(err, ErrUnavailable):
			return err
		default:
			last = err
		}
		timer.Reset(max(step, min(took, lastStep)))
	}
}
