package peerapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"p2prc/tables/identity"
)

// exchange makes one call on the shared connection. An answer for which
// admitted is true makes its sender the pin.
func (c *Client) exchange(ctx context.Context, q question, into reply, admitted func() bool) error {
	a, err := c.turnOf(ctx, q)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return parseRefusal(a.body)
	}
	err = decodeReply(a.body, into)
	if err == nil {
		err = into.accept(a.from)
	}
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if admitted() {
		c.trust(a.from)
	}
	return nil
}

// turnOf waits for the connection to be free and asks on it.
func (c *Client) turnOf(ctx context.Context, q question) (answered, error) {
	if err := c.take(ctx); err != nil {
		return answered{}, err
	}
	defer c.give()
	if c.line != nil && time.Since(c.line.used) > reuseFor {
		c.hangUp()
	}
	old := c.line != nil
	a, err := c.try(ctx, q)
	// The proxy may have been restarted since the last call.
	if _, lost := errors.AsType[noAnswer](err); lost && old && ctx.Err() == nil {
		a, err = c.try(ctx, q)
	}
	return a, err
}

// try asks once, on a new connection if there is none. It is called with the turn.
func (c *Client) try(ctx context.Context, q question) (answered, error) {
	if c.line == nil {
		l, err := c.dial(ctx, c.alpn())
		if err != nil {
			return answered{}, err
		}
		c.line = l
	}
	l := c.line
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	a, err := l.roundTrip(q)
	ended := !stop()
	if ended || err != nil || a.last {
		c.hangUp()
	}
	// What came after the end is half an answer, or one to hanging up.
	if ended || err != nil {
		return answered{}, fmt.Errorf("asking: %w", cut(ctx, err))
	}
	return a, nil
}

// connect puts a new connection in the place of the one there is.
func (c *Client) connect(ctx context.Context, alpn string) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	c.hangUp()
	l, err := c.dial(ctx, alpn)
	if err != nil {
		return err
	}
	c.line = l
	return nil
}

// take waits for the turn to use line.
func (c *Client) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for an earlier call: %w", ctx.Err())
	}
}

func (c *Client) give() { <-c.turn }

// hangUp is called with the turn.
func (c *Client) hangUp() {
	if c.line != nil {
		c.line.conn.Close()
		c.line = nil
	}
}

// trust makes peer the one node that is accepted from now on: it has admitted
// this one.
func (c *Client) trust(peer identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pin, c.join = peer, false
}

// done is the answer to a call that gives back nothing.
type done struct{}

func (*done) accept(identity.ID) error { return nil }

// cut names the end of ctx as the cause of an error, where that was it: the
// connection was closed then, and says only so.
func cut(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
