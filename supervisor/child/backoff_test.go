package child_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2prc/supervisor/child"
)

// clock is a time that only the test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func most() float64 { return 0.999999 }

func TestBackoff_crashLoop(t *testing.T) {
	b := child.Backoff{Rand: most}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120, 120} // half seconds
	for i, w := range want {
		got := b.Next(0).Round(time.Millisecond)
		if got != w*500*time.Millisecond {
			t.Errorf("pause %d: %v, want %v", i, got, w*500*time.Millisecond)
		}
	}
	if b.Quick() != len(want) {
		t.Errorf("%d quick failures", b.Quick())
	}
}

func TestBackoff_firstRestartIsImmediate(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	t.Run("was healthy", func(t *testing.T) {
		b := child.Backoff{Rand: most, Now: c.Now}
		b.Healthy()
		if got := b.Next(time.Second); got != 0 || b.Quick() != 0 {
			t.Errorf("%v, %d quick", got, b.Quick())
		}
	})
	t.Run("had lasted", func(t *testing.T) {
		b := child.Backoff{Rand: most, Now: c.Now}
		if got := b.Next(time.Hour); got != 0 || b.Quick() != 0 {
			t.Errorf("%v, %d quick", got, b.Quick())
		}
		if got := b.Next(time.Hour); got == 0 {
			t.Error("immediate again, though it was never healthy")
		}
	})
}

// A child that is healthy for a moment and dies again and again is a crash loop
// too; a minute of health makes up for everything.
func TestBackoff_reset(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	b := child.Backoff{Rand: most, Now: c.Now}
	for range 5 {
		b.Healthy()
		c.now = c.now.Add(59 * time.Second)
		b.Healthy() // only the first of a run counts
		b.Next(59 * time.Second)
	}
	b.Healthy()
	c.now = c.now.Add(59 * time.Second)
	if got := b.Next(59 * time.Second); got < 10*time.Second {
		t.Errorf("pause %v after six deaths in a row", got)
	}
	b.Healthy()
	c.now = c.now.Add(time.Minute)
	if got := b.Next(time.Minute); got != 0 {
		t.Errorf("pause %v after a minute of health", got)
	}
}

func TestBackoff_bounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &clock{time.Unix(0, 0)}
		random := rapid.Float64Range(0.001, 0.999) // so that only an immediate restart is 0
		b := child.Backoff{Now: c.Now, Rand: func() float64 { return random.Draw(t, "random") }}
		restarts, failures := 0, 0
		for range rapid.IntRange(1, 30).Draw(t, "runs") {
			ran := time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "ran"))
			healthy := rapid.Bool().Draw(t, "healthy")
			if healthy {
				b.Healthy()
			}
			c.now = c.now.Add(ran)
			if healthy && ran >= time.Minute {
				restarts = 0
			}
			failed := !healthy && ran < 10*time.Second
			if failures++; !failed {
				failures = 0
			}

			pause := b.Next(ran)
			ceiling := time.Duration(min(float64(time.Minute), float64(time.Second/2)*math.Pow(2, float64(restarts))))
			if pause < 0 || pause > ceiling {
				t.Fatalf("pause %v at restart %d", pause, restarts)
			}
			if immediate := restarts == 0 && !failed; immediate != (pause == 0) {
				t.Fatalf("pause %v at restart %d, failed %v", pause, restarts, failed)
			}
			if b.Quick() != failures {
				t.Fatalf("%d quick failures, want %d", b.Quick(), failures)
			}
			restarts++
		}
	})
}
