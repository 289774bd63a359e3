package notify

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Watchdog is for the tests outside.
func Watchdog(s *Socket) time.Duration { return s.watchdog }

// count is a connection that counts what is sent.
type count struct {
	net.Conn
	n atomic.Int64
}

func (c *count) Write(b []byte) (int, error) {
	c.n.Add(1)
	return len(b), nil
}

func TestServe_stuckLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := new(count)
		s := &Socket{conn: sent, watchdog: 30 * time.Second, now: time.Now, beats: map[string]time.Time{}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		feeds := func(during time.Duration) int64 {
			before := sent.n.Load()
			time.Sleep(during) // in the bubble's time
			synctest.Wait()
			return sent.n.Load() - before
		}
		if got := feeds(10*time.Minute + time.Second); got != 60 {
			t.Errorf("fed %d times in 10 min before the first beat, want 60", got)
		}
		beat, ended := s.Loop("one")
		other, _ := s.Loop("other")
		beat()
		other()
		if got := feeds(stuckAfter); got == 0 {
			t.Error("not fed while the loop may be busy")
		}
		if got := feeds(10 * time.Minute); got != 0 {
			t.Errorf("fed %d times while the loop is stuck", got)
		}
		other()
		if got := feeds(time.Minute / 2); got != 0 {
			t.Errorf("fed %d times while one of two loops is stuck", got)
		}
		beat()
		if got := feeds(30 * time.Second); got != 3 {
			t.Errorf("fed %d times in 30 s after a beat, want 3", got)
		}
		other()
		ended()
		if got := feeds(50 * time.Second); got != 5 {
			t.Errorf("fed %d times in 50 s after a loop ended, want 5", got)
		}
		stop()
		<-done
	})
}
