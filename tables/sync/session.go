package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

// mode is which end of a connection this is.
type mode int

const (
	accepted mode = iota
	attached
	once // attached for one comparison
)

const (
	maxNews = 1024 // changes that wait; more, and the digests are compared again

	// A heartbeat waits for others that go the same way: with 50 proxies that
	// saves most of the heads of frames, TLS and TCP.
	beatDelay = time.Second

	// What others said is passed on to the accepting end only after this long,
	// and a random part of it more, in which it did not come from there.
	bridgeDelay = 2 * time.Second

	maxWants = 2 // unanswered on one connection
	idleBuf  = 2 << 10
)

// session is one connection. Its reader takes in what comes and notes what is
// to be said; its writer says it. The reader never waits for the writer, so two
// ends that have much to say cannot block each other.
type session struct {
	s     *Syncer
	peer  identity.ID
	conn  net.Conn
	mode  mode
	watch *record.Watch
	poke  chan struct{} // there may be something to say
	done  bool          // mode once: the comparison is over; read after run

	mu     sync.Mutex // guards what follows
	news   []*record.Record
	beats  []*record.Record
	beatAt time.Time               // when beats are due
	told   heads                   // of heartbeats that were sent
	heard  heads                   // and that came
	bridge map[record.Hash]bridged // of others, for the accepting end
	credit int                     // records that this end asked for
	round  round                   // of the dialling end
	serves serves                  // of the accepting end
	sumAt  time.Time               // when the next keepalive is due
	ask    bool                    // it asks for a comparison
	buf    []byte                  // the writer's
}

// bridged is a record that waits whether the accepting end knows it itself.
type bridged struct {
	r  *record.Record
	at time.Time
}

func newSession(s *Syncer, peer identity.ID, conn net.Conn, m mode) *session {
	return &session{s: s, peer: peer, conn: conn, mode: m, poke: make(chan struct{}, 1), bridge: map[record.Hash]bridged{}}
}

// run is the connection's whole life.
func (c *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	c.watch = c.s.o.Set.Watch(maxNews)
	defer c.watch.Close()
	c.begin(time.Now())

	var writing sync.WaitGroup
	writing.Go(func() { cancel(c.write(ctx)) })
	err := c.read(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the writer's, or the caller's: it closed the connection
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	cancel(nil)
	writing.Wait()
	return err
}

// begin notes what is said first.
func (c *session) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = appendHello(nil, c.s.o.Now())
	c.sumAt = now.Add(keepEvery)
	c.round.at, c.round.wait = now, roundWait
	if c.mode == accepted {
		c.round.at = time.Time{}
	}
	for _, r := range c.s.o.Set.Beats(c.s.o.Now()) {
		if c.mode == accepted || c.s.o.Relay || r.Owner == c.s.o.Self {
			c.news = append(c.news, r)
		}
	}
}

// write says what there is to say until ctx ends.
func (c *session) write(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		frame, next := c.next(time.Now())
		if len(frame) > 0 {
			if err := c.send(frame); err != nil {
				return err
			}
			continue
		}
		if c.finished() {
			return nil
		}
		timer.Reset(time.Until(next))
		select {
		case <-c.poke:
		case <-c.watch.Wake():
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *session) send(frame []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := c.conn.Write(frame)
	return err
}

// finished is only ever true in mode once.
func (c *session) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// next is the next frame to send, or when there may be one. What is new goes
// before what was asked for, so that a long answer delays no news.
func (c *session) next(now time.Time) (frame []byte, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gather(now)
	b := c.buf // at first it holds the hello
	for _, say := range []func([]byte, time.Time) []byte{c.sayNews, c.saySum, c.sayAsked, c.sayRound, c.sayBridged} {
		if len(b) > 0 {
			break
		}
		b = say(b, now)
	}
	if len(b) > 0 {
		c.buf = b[:0]
		return b, now
	}
	if cap(c.buf) > idleBuf {
		c.buf = nil
	}
	return nil, c.wakeAt(now)
}

// wakeAt is when the writer has to look again if nothing happens.
func (c *session) wakeAt(now time.Time) time.Time {
	at := c.sumAt
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	sooner(c.beatAt)
	sooner(c.round.due())
	sooner(c.serves.due())
	for _, b := range c.bridge {
		sooner(b.at)
	}
	return at
}

// gather sorts what changed in the set. It is called with mu held.
func (c *session) gather(now time.Time) {
	changes, lost := c.watch.Take()
	if lost {
		c.overflow(now)
	}
	for _, ch := range changes {
		r := ch.Record
		switch {
		case ch.Void || ch.From == c.peer || c.mode == once:
		case c.mode != accepted && !c.s.o.Relay && r.Owner != c.s.o.Self:
			if len(c.bridge) >= maxNews {
				clear(c.bridge)
				c.overflow(now)
			}
			c.bridge[r.Hash()] = bridged{r, now.Add(bridgeDelay + rand.N(bridgeDelay))}
		case r.Kind() == record.KindHeartbeat:
			c.beats = append(c.beats, r)
			if c.beatAt.IsZero() {
				c.beatAt = now.Add(beatDelay)
			}
		default:
			c.news = append(c.news, r)
		}
	}
}

// overflow has the digests compared, since news were lost.
func (c *session) overflow(now time.Time) {
	if c.mode == accepted {
		c.ask, c.sumAt = true, now
		return
	}
	c.round.lost = true
	c.round.hurry(now)
}

func (c *session) sayNews(b []byte, now time.Time) []byte {
	if len(c.beats) > 0 && (len(c.news) > 0 || !now.Before(c.beatAt)) {
		return c.sayBeats(b)
	}
	if len(c.news) == 0 {
		return b
	}
	b, n := appendRecords(b, c.news)
	c.told.tell(c.news[:n])
	clear(c.news[:n])
	if c.news = c.news[n:]; len(c.news) == 0 {
		c.news = nil
	}
	return b
}

func (c *session) saySum(b []byte, now time.Time) []byte {
	if now.Before(c.sumAt) {
		return b
	}
	b = appendSum(b, c.s.o.Set.Sum(), c.ask)
	c.sumAt, c.ask = now.Add(keepEvery), false
	return b
}

// sayBridged sends what the accepting end did not know after all.
func (c *session) sayBridged(b []byte, now time.Time) []byte {
	var due []*record.Record
	for h, w := range c.bridge {
		if now.Before(w.at) {
			continue
		}
		due = append(due, w.r)
		delete(c.bridge, h)
	}
	if len(due) == 0 {
		return b
	}
	c.news = append(c.news, due...)
	return c.sayNews(b, now)
}

// read takes in what comes until the connection or its patience ends.
func (c *session) read(ctx context.Context) error {
	var buf []byte
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(readWait)); err != nil {
			return err
		}
		k, b, err := readFrame(c.conn, buf, func() error { return c.conn.SetReadDeadline(time.Now().Add(frameWait)) })
		if err != nil {
			return err
		}
		if buf = b; cap(buf) > idleBuf {
			buf = nil // most frames are small
		}
		wait, err := c.take(k, b)
		if err != nil {
			return err
		}
		if wait > 0 { // TCP tells the other end to slow down
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
		c.wake()
	}
}

func (c *session) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// take takes in one frame, and says how long to wait before the next.
func (c *session) take(k kind, b []byte) (wait time.Duration, err error) {
	switch k {
	case kindHello:
		at, err := parseHello(b)
		if err == nil && c.s.o.Ahead != nil {
			c.s.o.Ahead(c.peer, at.Sub(c.s.o.Now()))
		}
		return c.chatter(), err
	case kindSum:
		return c.chatter(), c.takeSum(b)
	case kindRecords:
		raws, err := parseRecords(b)
		if err != nil {
			return 0, err
		}
		c.heard.hear(raws)
		return c.takeRecords(raws)
	case kindBeats:
		raws, err := c.heard.parse(b)
		if err != nil {
			return 0, err
		}
		return c.takeRecords(raws)
	case kindDigests:
		return 0, c.takeDigests(b)
	case kindWant:
		return 0, c.takeWant(b)
	case kindList:
		return 0, c.takeList(b)
	case kindListed, kindAnswered:
		return 0, c.takeEnd(k)
	case kindRefused:
		return 0, &RefusedError{shown(b)}
	}
	return c.chatter(), nil
}

// chatter counts frames that cost their sender nothing like records.
func (c *session) chatter() time.Duration { return c.s.tolls.takeRecords(c.peer, 1, time.Now()) }

func (c *session) takeRecords(raws [][]byte) (wait time.Duration, err error) {
	c.mu.Lock()
	unasked := max(0, len(raws)-c.credit)
	c.credit = max(0, c.credit-len(raws))
	c.mu.Unlock()
	if unasked > 0 {
		wait = c.s.tolls.takeRecords(c.peer, unasked, time.Now())
	}
	m := c.s.o.Set.Merge(c.s.o.Now(), c.peer, raws...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round.refuse(m, time.Now())
	c.gather(time.Now()) // what came from elsewhere first need not go back there either
	for _, raw := range raws {
		if len(c.bridge) == 0 {
			break
		}
		sum := sha256.Sum256(raw)
		delete(c.bridge, record.Hash(sum[:len(record.Hash{})]))
	}
	return wait, m.Bad()
}

// shown makes what the other end says fit for a log.
func shown(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(b[:min(len(b), maxReason)]))
}

func (c *session) misplaced(k kind) error {
	return fmt.Errorf("%w: a frame of kind %d at the wrong time", errFrame, k)
}
