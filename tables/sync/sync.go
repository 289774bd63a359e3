package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
)

// How a connection is kept. The other end counts as gone after three keepalives
// that did not come.
const (
	keepEvery = 15 * time.Second
	readWait  = 50 * time.Second
	frameWait = 10 * time.Second // from the first byte of a frame to its last
	writeWait = 20 * time.Second // for a frame

	refuseWait = 2 * time.Second
)

// Options describes a Syncer. Set and Self must be set.
type Options struct {
	Set  *record.Set
	Self identity.ID

	// Relay makes a connection that this node dialled carry all records at
	// once, as between reverse proxies; else only its own go at once.
	Relay bool

	// Allow says whether a node that dialled may have the records; nil: any may.
	Allow func(peerapi.Peer) error

	// Synced is called after each comparison on a connection that this node
	// dialled: what both knew is now known to both. May be nil, may not block.
	Synced func(peer identity.ID)

	// Ahead is told by how much the clock of a node is ahead. May be nil.
	Ahead func(peer identity.ID, d time.Duration)

	Now func() time.Time // for what is true now; intervals go by the system's clock
}

// Syncer synchronizes a set with other nodes. It is safe for many goroutines.
type Syncer struct {
	o     Options
	tolls *tolls
}

// New makes a Syncer; it starts nothing.
func New(o Options) *Syncer {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Syncer{o: o, tolls: newTolls()}
}

// Speak serves a node that dialled the public port, until ctx ends, the other
// end hangs up or breaks the rules. It is a peerapi.Protocol, for ALPNSync.
func (s *Syncer) Speak(ctx context.Context, peer peerapi.Peer, conn net.Conn, admit func() error) {
	if err := s.allow(peer, admit); err != nil {
		refuse(conn, err)
		return
	}
	_ = s.Serve(ctx, peer.ID, conn) // the other end's errors are its own
}

func (s *Syncer) allow(peer peerapi.Peer, admit func() error) error {
	if s.tolls.barred(peer.ID, time.Now()) {
		return errors.New("this node was cut off: try again in a minute")
	}
	if s.o.Allow != nil {
		if err := s.o.Allow(peer); err != nil {
			return err
		}
	}
	return admit()
}

// Serve is the accepting end on a connection to a node whose key is proved. It
// returns nil when ctx ended or the other end hung up in order, and closes conn.
func (s *Syncer) Serve(ctx context.Context, peer identity.ID, conn net.Conn) error {
	return s.serve(ctx, newSession(s, peer, conn, accepted))
}

// Attach is the dialling end: it brings the sets together, then sends and takes
// in what is new until ctx ends or the connection does. It closes conn.
func (s *Syncer) Attach(ctx context.Context, peer identity.ID, conn net.Conn) error {
	return s.serve(ctx, newSession(s, peer, conn, attached))
}

// Reconcile is the dialling end too, but returns once the sets have been
// brought together.
func (s *Syncer) Reconcile(ctx context.Context, peer identity.ID, conn net.Conn) error {
	c := newSession(s, peer, conn, once)
	err := s.serve(ctx, c)
	if err == nil && !c.done {
		if err = ctx.Err(); err == nil {
			err = fmt.Errorf("syncing with %s: it hung up", peer.Short())
		}
	}
	return err
}

func (s *Syncer) serve(ctx context.Context, c *session) error {
	if err := c.run(ctx); err != nil {
		if dishonest(err) {
			s.tolls.bar(c.peer, time.Now())
		}
		return fmt.Errorf("syncing with %s: %w", c.peer.Short(), err)
	}
	return nil
}

// dishonest tells what only a node sends that means it, or is broken.
func dishonest(err error) bool {
	return errors.Is(err, errFrame) || errors.Is(err, record.ErrForged) || errors.Is(err, record.ErrMalformed)
}

// RefusedError is why the other end does not want to talk.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// refuse says why, and waits a moment for the other end to read it: to close a
// connection with unread bytes in it would take the answer back.
func refuse(conn net.Conn, why error) {
	if conn.SetDeadline(time.Now().Add(refuseWait)) != nil {
		return
	}
	_, err := conn.Write(appendFrame(nil, kindRefused, func(b []byte) []byte {
		msg := why.Error()
		return append(b, msg[:min(len(msg), maxReason)]...)
	}))
	if err == nil {
		_, _ = io.CopyN(io.Discard, conn, 4*maxFrame)
	}
}
