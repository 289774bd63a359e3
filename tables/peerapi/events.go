package peerapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// eventWait is how long a node may take to receive one event.
	eventWait = 10 * time.Second
	// eventSilence is how long a node waits for an event before it takes the
	// connection for dead: three pings.
	eventSilence = 30 * time.Second
	// maxEvent bounds one event, in bytes.
	maxEvent = 4 << 10
)

// events streams one JSON object a line. The answer begins before the first
// event, so that the node knows it is heard.
func (a *api) events(w http.ResponseWriter, r *http.Request, peer Peer) error {
	rc := http.NewResponseController(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	flush := func() error {
		// Each event has its own time: the server's WriteTimeout is for answers that end.
		if err := rc.SetWriteDeadline(time.Now().Add(eventWait)); err != nil {
			return err
		}
		return rc.Flush()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if err := flush(); err != nil {
		return nil // the node is gone, nobody is left to be told
	}
	err := a.service.Events(ctx, peer, func(ev Event) error {
		b, err := json.Marshal(ev)
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			cancel()
			return err
		}
		if err := flush(); err != nil {
			cancel()
			return err
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		a.log.warn("sending events to a node", peer.ID, err)
	}
	return nil
}
