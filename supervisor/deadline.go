package supervisor

import "time"

// jumpLimit is how far wall and monotonic time may drift apart between two
// looks before every row waits for a renewal: the host was suspended, or its
// clock was set.
const jumpLimit = 30 * time.Second

// deadline is the end of a lease as its holder counts it: from when the
// request was sent, so never later than the proxy's own count.
type deadline struct {
	sent time.Time // with a monotonic reading
	ttl  time.Duration
}

// passed goes by the larger of the wall and the monotonic time elapsed: the
// monotonic clock stands still while the host is suspended, the wall clock can
// be set back.
func (d deadline) passed(now time.Time) bool {
	return max(now.Sub(d.sent), now.Round(0).Sub(d.sent.Round(0))) >= d.ttl
}

// at is the wall time of the deadline, for people.
func (d deadline) at() time.Time { return d.sent.Round(0).Add(d.ttl).UTC() }

// jumpWatch notices that wall and monotonic time have drifted apart.
type jumpWatch struct{ last time.Time }

// jumped reports a drift of more than jumpLimit since the last call.
func (j *jumpWatch) jumped(now time.Time) bool {
	last := j.last
	j.last = now
	if last.IsZero() {
		return false
	}
	drift := now.Round(0).Sub(last.Round(0)) - now.Sub(last)
	return drift.Abs() > jumpLimit
}
