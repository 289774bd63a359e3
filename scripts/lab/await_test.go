//go:build linux

package lab

import (
	"fmt"
	"testing"
	"time"
)

// step is the time between two looks. A look that runs p2prc takes 10 ms.
const step = 50 * time.Millisecond

// await looks until ok returns nil, and returns how long that took. The test
// fails with the last error when it is not so within limit.
func await(t testing.TB, what string, limit time.Duration, ok func() error) time.Duration {
	t.Helper()
	took, err := looks(limit, ok)
	if err != nil {
		t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
	return took
}

// looks is await for those who go on after a failure.
func looks(limit time.Duration, ok func() error) (took time.Duration, err error) {
	start := time.Now()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		if err = ok(); err == nil {
			return time.Since(start), nil
		}
		if time.Since(start) > limit {
			return limit, err
		}
		<-tick.C
	}
}

// holds looks for as long as the time given whether ok stays nil.
func holds(t testing.TB, what string, during time.Duration, ok func() error) {
	t.Helper()
	_, err := looks(during, func() error {
		if err := ok(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return fmt.Errorf("goes on")
	})
	_ = err // it goes on: that is what is wanted
}

// seconds is a duration as the logs of these tests show it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
