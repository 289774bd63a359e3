package sync_test

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// link is a connection in memory with a latency, for simulations in virtual
// time: what is written comes out of the other end that much later. It takes
// as much as a socket would, and counts the bytes.
type link struct {
	out, in *wire
}

const linkBuffer = 256 << 10

// newLink makes both ends.
func newLink(latency time.Duration) (a, b *link) {
	there, back := newWire(latency), newWire(latency)
	return &link{there, back}, &link{back, there}
}

func (l *link) Write(p []byte) (int, error) { return l.out.write(p) }
func (l *link) Read(p []byte) (int, error)  { return l.in.read(p) }
func (l *link) Close() error                { l.out.close(); l.in.close(); return nil }
func (l *link) LocalAddr() net.Addr         { return nil }
func (l *link) RemoteAddr() net.Addr        { return nil }
func (l *link) SetDeadline(t time.Time) error {
	return cmpErr(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}
func (l *link) SetReadDeadline(t time.Time) error  { l.in.setDeadline(&l.in.readBy, t); return nil }
func (l *link) SetWriteDeadline(t time.Time) error { l.out.setDeadline(&l.out.writeBy, t); return nil }

// sent is how many bytes went out of this end.
func (l *link) sent() int {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.out.total
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// wire is one direction.
type wire struct {
	latency time.Duration

	mu              sync.Mutex // guards what follows
	changed         chan struct{}
	pieces          []piece
	size, total     int
	closed          bool
	readBy, writeBy time.Time
}

type piece struct {
	at    time.Time
	bytes []byte
}

func newWire(latency time.Duration) *wire {
	return &wire{latency: latency, changed: make(chan struct{})}
}

// change wakes everyone who waits. It is called with mu held.
func (w *wire) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.change()
}

// setDeadline wakes nobody: p2psync sets deadlines before it waits.
func (w *wire) setDeadline(which *time.Time, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*which = t
}

// await waits for a change, with mu held, until one of the times. It reports
// whether the deadline has passed.
func (w *wire) await(deadline, other time.Time) (late bool) {
	now := time.Now()
	if !deadline.IsZero() && !now.Before(deadline) {
		return true
	}
	at := deadline
	if at.IsZero() || (!other.IsZero() && other.Before(at)) {
		at = other
	}
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	if at.IsZero() {
		<-changed
		return false
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
	return false
}

func (w *wire) write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.size > linkBuffer && !w.closed {
		if w.await(w.writeBy, time.Time{}) {
			return 0, os.ErrDeadlineExceeded
		}
	}
	if w.closed {
		return 0, net.ErrClosed
	}
	w.pieces = append(w.pieces, piece{time.Now().Add(w.latency), append([]byte(nil), p...)})
	w.size += len(p)
	w.total += len(p)
	w.change()
	return len(p), nil
}

func (w *wire) read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.pieces) > 0 && !time.Now().Before(w.pieces[0].at) {
			break
		}
		if w.closed {
			return 0, io.EOF
		}
		var next time.Time
		if len(w.pieces) > 0 {
			next = w.pieces[0].at
		}
		if w.await(w.readBy, next) {
			return 0, os.ErrDeadlineExceeded
		}
	}
	first := &w.pieces[0]
	n := copy(p, first.bytes)
	if first.bytes = first.bytes[n:]; len(first.bytes) == 0 {
		if w.pieces = w.pieces[1:]; len(w.pieces) == 0 {
			w.pieces = nil
		}
	}
	before := w.size
	if w.size -= n; before > linkBuffer {
		w.change()
	}
	return n, nil
}
