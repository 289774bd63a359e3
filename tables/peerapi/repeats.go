package peerapi

import (
	"context"
	"log/slog"
	"sync"

	"p2prc/tables/identity"
)

// repeats logs an error at Warn, and at Debug as long as it is the same one:
// a full disk must not fill the log at the pace of every node that asks.
type repeats struct {
	log *slog.Logger

	mu   sync.Mutex // guards last
	last string
}

func (r *repeats) warn(doing string, peer identity.ID, err error) {
	text := doing + ": " + err.Error()
	r.mu.Lock()
	level := slog.LevelWarn
	if text == r.last {
		level = slog.LevelDebug
	}
	r.last = text
	r.mu.Unlock()
	r.log.Log(context.Background(), level, doing, "peer", peer, "err", err)
}
