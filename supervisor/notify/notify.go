// Package notify tells systemd how p2prc is, by the protocol of sd_notify(3):
// a line in a datagram. Elsewhere it does nothing. Not here: what there is to
// tell (cmd/p2prc) and what systemd makes of it (scripts/systemd).
package notify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Socket is where systemd listens. A nil Socket says nothing to nobody.
type Socket struct {
	conn     net.Conn
	watchdog time.Duration // 0: systemd does not watch
	now      func() time.Time

	mu    sync.Mutex           // guards beats
	beats map[string]time.Time // the last of each loop
}

// stuckAfter is when a loop that has not come round counts as stuck. The
// longest round is that of a server whose proxy went silent amid a thousand
// mappings: each of its steps has a bound, and they add up to less.
const stuckAfter = time.Minute

// Open takes the socket that systemd names in the environment, and the
// variables out of it: no child may speak for p2prc. It is nil where there is
// no systemd.
func Open() (*Socket, error) {
	name := os.Getenv("NOTIFY_SOCKET")
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, key := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if err := os.Unsetenv(key); err != nil {
			return nil, fmt.Errorf("taking $%s out of the environment: %w", key, err)
		}
	}
	if name == "" {
		return nil, nil
	}
	// A name that begins with @ is abstract, for Go as for systemd.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("opening systemd's socket: %w", err)
	}
	s := &Socket{conn: conn, now: time.Now, beats: make(map[string]time.Time)}
	// The watchdog may be meant for another process.
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.watchdog = time.Duration(n) * time.Microsecond
	}
	return s, nil
}

// Ready says that the start is over and how it came out.
func (s *Socket) Ready(status string) error { return s.send("READY=1\nSTATUS=" + line(status)) }

// Status is what systemctl status shows.
func (s *Socket) Status(text string) error { return s.send("STATUS=" + line(text)) }

// Stopping says that p2prc is about to end.
func (s *Socket) Stopping(status string) error { return s.send("STOPPING=1\nSTATUS=" + line(status)) }

// Loop has the watchdog look at a loop of this name: beat says that it came
// round, ended that it is over.
func (s *Socket) Loop(name string) (beat, ended func()) {
	if s == nil {
		return func() {}, func() {}
	}
	beat = func() {
		s.mu.Lock()
		s.beats[name] = s.now()
		s.mu.Unlock()
	}
	return beat, func() {
		s.mu.Lock()
		delete(s.beats, name)
		s.mu.Unlock()
	}
}

func (s *Socket) stuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, last := range s.beats {
		if s.now().Sub(last) >= stuckAfter {
			return true
		}
	}
	return false
}

// Serve feeds the watchdog until ctx ends, but not while a loop is stuck. Before
// the first beat there is none that could be: a node may knock for days.
func (s *Socket) Serve(ctx context.Context) error {
	if s == nil || s.watchdog == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(s.watchdog / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if !s.stuck() {
			_ = s.send("WATCHDOG=1") // systemd finds out by itself
		}
	}
}

// Close lets go of the socket.
func (s *Socket) Close() error {
	if s == nil {
		return nil
	}
	return s.conn.Close()
}

func (s *Socket) send(text string) error {
	if s == nil {
		return nil
	}
	if _, err := s.conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("telling systemd: %w", err)
	}
	return nil
}

// line keeps a text from setting another variable.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}
