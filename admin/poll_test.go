package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoll(t *testing.T) {
	t.Run("quick at first, patient later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var at []time.Duration
			start := time.Now()
			err := poll(ctx, func() (bool, error) {
				at = append(at, time.Since(start))
				return false, nil
			})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("poll: %v", err)
			}
			if at[0] != 0 || at[1] != time.Millisecond || at[5] > 7*time.Millisecond {
				t.Errorf("asked at %v", at[:6])
			}
			if n := len(at); at[n-1]-at[n-2] != lastStep || n > 250 {
				t.Errorf("asked %d times, %v apart in the end", n, at[n-1]-at[n-2])
			}
		})
	})
	t.Run("ends when done", func(t *testing.T) {
		n := 0
		err := poll(t.Context(), func() (bool, error) {
			n++
			return n == 3, fmt.Errorf("%w: starting", ErrUnavailable)
		})
		if err != nil || n != 3 {
			t.Errorf("poll: %v after %d", err, n)
		}
	})
	t.Run("ends when it is no use", func(t *testing.T) {
		n := 0
		err := poll(t.Context(), func() (bool, error) {
			n++
			return false, ErrNotOurs
		})
		if !errors.Is(err, ErrNotOurs) || n != 1 {
			t.Errorf("poll: %v after %d", err, n)
		}
	})
	t.Run("says what the last answer was", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := poll(ctx, func() (bool, error) {
				if ctx.Err() != nil {
					return false, ctx.Err()
				}
				return false, fmt.Errorf("%w: refused", ErrUnavailable)
			})
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
				t.Errorf("poll: %v", err)
			}
		})
	})
}
