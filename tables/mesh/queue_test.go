package mesh

import (
	"testing"
	"time"
)

// Beats go out in rounds: every packet of one has them, and none between two.
func TestRounds(t *testing.T) {
	var r rounds
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		open  bool
	}{
		{0, true},
		{roundTime / 2, true},
		{roundTime, false},
		{beatRound - 2*roundTime, false},
		{roundTime, true},
		{roundTime / 2, true},
		{time.Hour, true},
		{roundTime, false},
	} {
		now = now.Add(step.after)
		if got := r.open(now); got != step.open {
			t.Errorf("after %v: open is %v", step.after, got)
		}
	}
}
