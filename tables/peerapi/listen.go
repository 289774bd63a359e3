package peerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"p2prc/tables"
)

// Events listens to the proxy on a connection of its own and hands on what it
// tells, pings included, until ctx ends, the connection breaks, or nothing has
// come for 30 s. It never returns nil. A kind that this version does not know
// is handed on too.
func (c *Client) Events(ctx context.Context, heard func(Event)) error {
	l, resp, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	defer context.AfterFunc(ctx, func() { l.conn.Close() })()
	// The body is not closed: closing would read the stream to its end.
	r := bufio.NewReaderSize(resp.Body, maxEvent)
	for {
		ev, err := l.next(r)
		if err != nil {
			return fmt.Errorf("listening: %w", cut(ctx, err))
		}
		heard(ev)
	}
}

// listen connects and asks for the events; the answer has begun when it returns.
func (c *Client) listen(ctx context.Context) (*line, *http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	l, err := c.dial(ctx, c.alpn())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	resp, err := l.askEvents(c.o.Name)
	if !stop() || err != nil {
		l.conn.Close()
		return nil, nil, fmt.Errorf("listening: %w", cut(ctx, err))
	}
	return l, resp, nil
}

func (l *line) askEvents(name string) (*http.Response, error) {
	resp, err := l.ask(question{method: http.MethodGet, path: pathEvents, name: name}, MaxBody)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return nil, parseRefusal(b)
}

// next waits for one event.
func (l *line) next(r *bufio.Reader) (Event, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(eventSilence)); err != nil {
		return Event{}, err
	}
	l.limit.N = 2 * maxEvent // one line, and what the chunk around it takes
	b, err := r.ReadSlice('\n')
	if err != nil {
		return Event{}, err
	}
	var ev Event
	if err := json.Unmarshal(b, &ev); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	return ev, ev.accept()
}

func (ev *Event) accept() error {
	if err := checkIDChars(string(ev.Kind)); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	if ev.Name != "" {
		if err := tables.CheckName(ev.Name); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
	}
	return nil
}
