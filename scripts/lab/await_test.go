//go:build linux

package lab

import (
	"fmt"
	"testing"
	"time"
)

// step is the time between two looks. A look that runs p2prc takes 10 ms.
const step = 100 * time.Millisecond

// await looks until ok returns nil, and returns how long that took. The test
// fails with the last error when it is not so within limit.
func await(t *testing.T, what string, limit time.Duration, ok func() error) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		err := ok()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > limit {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		<-tick.C
	}
}

// holds looks for as long as during whether ok stays nil.
func holds(t *testing.T, what string, during time.Duration, ok func() error) {
	t.Helper()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < during; <-tick.C {
		if err := ok(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// seconds is a duration as the logs of these tests show it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// missing is a text that was looked for in vain.
type missing struct{ text, in string }

func (m missing) Error() string { return fmt.Sprintf("no %q in:\n%s", m.text, m.in) }
