package child

import (
	"math/rand/v2"
	"time"
)

const (
	firstPause = 500 * time.Millisecond
	maxPause   = time.Minute
	// healthyFor is how long a child has to be healthy for its past to be
	// forgotten.
	healthyFor = time.Minute
	// quick is shorter than anything but a child that cannot start: frps is up
	// after 0.14 s at most, frpc gives a first login 10 s (0.61.0 to 0.70.1).
	quick = 10 * time.Second
)

// Backoff says how long to wait before a child is started again. The first
// restart is immediate unless the run was a quick failure; after that the pause
// is random up to 0.5 s, doubling to 60 s. The zero value is ready; it is for
// one goroutine.
type Backoff struct {
	Rand func() float64   // from [0,1); nil: math/rand/v2
	Now  func() time.Time // nil: time.Now

	restarts     int // since the child was last healthy for long
	quick        int
	healthySince time.Time // zero: this run was not yet
}

// Healthy notes that the child does its work.
func (b *Backoff) Healthy() {
	if b.healthySince.IsZero() {
		b.healthySince = b.now()
	}
}

// Next is the pause after a run of this length, 0 for a start that failed.
func (b *Backoff) Next(ran time.Duration) time.Duration {
	healthy := !b.healthySince.IsZero()
	if healthy && b.now().Sub(b.healthySince) >= healthyFor {
		b.restarts = 0
	}
	b.healthySince = time.Time{}
	failed := !healthy && ran < quick
	if failed {
		b.quick++
	} else {
		b.quick = 0
	}
	n := b.restarts
	b.restarts++
	if n == 0 && !failed {
		return 0
	}
	ceiling := maxPause
	if n < 7 { // 0.5 s * 2^7 is more than a minute
		ceiling = min(maxPause, firstPause<<n)
	}
	return time.Duration(b.rand() * float64(ceiling))
}

// Quick is how many runs in a row ended at once without having been healthy.
func (b *Backoff) Quick() int { return b.quick }

func (b *Backoff) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

func (b *Backoff) rand() float64 {
	if b.Rand != nil {
		return b.Rand()
	}
	return rand.Float64()
}
